import type { FastifyReply } from 'fastify';
import type { Broker, LeaseRequest } from '../src/broker/broker.ts';
import { LIMITS } from '../src/domain/limits.ts';
import type { Grant } from '../src/domain/task.ts';
import { HeldForClient } from '../src/http/client-gone.ts';
import { preferredWait } from '../src/http/prefer.ts';
import { operation } from '../src/http/operation.ts';
import { sendProblem } from '../src/http/problem.ts';
import type { Deps } from './deps.ts';
import { EXAMPLES } from './schemas/examples.ts';
import { DEFAULT_WAIT_MS, leaseBody, leaseQuery, leaseReply } from './schemas/lease.ts';
import { leasedTaskView } from './task-view.ts';

const spec = {
  tag: 'Leases',
  headers: { Prefer: '`wait=N`: how many seconds to wait, where `waitMs` is left out.' },
  description:
    'Answers as soon as there is at least one task, and with an empty list when the wait has run out. A queue that does not exist yet is an empty queue. When the client hangs up before the reply is written, nothing stays leased; one that ends its writing side (a half-closed connection) counts as gone and gets no reply.',
  replies: {
    200: {
      description: 'The tasks, each with its lease token; none when there was nothing in time.',
      schema: leaseReply,
      example: { tasks: [EXAMPLES.leased] },
      headers: { 'Preference-Applied': '`wait=N`, where the wait of `Prefer` was heeded.' },
    },
  },
  problems: ['too_many_waiters', 'store_unavailable', 'shutting_down', 'store_full'],
} as const;

/** What was asked for, without what the connection adds. */
interface Asked {
  queue: readonly string[];
  order: 'strict' | 'fair';
  max: number;
  waitMs?: number | undefined;
  leaseMs?: number | undefined;
  workerId?: string | undefined;
  requestId?: string | undefined;
}

/** What is asked for wins over what is preferred, of which `preferred` says that it counts. */
function waitOf(asked: Asked, prefer: string | string[] | undefined): { waitMs: number; preferred: boolean } {
  if (asked.waitMs !== undefined) return { waitMs: asked.waitMs, preferred: false };
  const preferred = preferredWait(prefer);
  if (preferred === null) return { waitMs: DEFAULT_WAIT_MS, preferred: false };
  return { waitMs: Math.min(preferred, Math.floor(LIMITS.maxWaitMs / 1000)) * 1000, preferred: true };
}

async function lease(broker: Broker, asked: Asked, reply: FastifyReply): Promise<unknown> {
  const client = new HeldForClient<readonly Grant[]>(reply.raw, broker);
  const { waitMs, preferred } = waitOf(asked, reply.request.headers['prefer']);
  const request: LeaseRequest = {
    queues: asked.queue,
    order: asked.order,
    max: asked.max,
    waitMs,
    leaseMs: asked.leaseMs ?? null,
    workerId: asked.workerId ?? null,
    requestId: asked.requestId ?? null,
    signal: client.signal,
  };
  const outcome = await broker.lease(request);
  if (outcome.outcome === 'too_many_waiters') {
    return sendProblem(reply, 'too_many_waiters', 'This broker holds as many long-polls as it may.');
  }
  if (preferred) reply.header('preference-applied', `wait=${waitMs / 1000}`);
  if (outcome.grants.length > 0) client.hold(outcome.grants);
  const now = broker.now();
  return { tasks: outcome.grants.map((grant) => leasedTaskView(grant, now)) };
}

export const leaseTasks = operation(
  { id: 'leaseTasks', summary: 'Lease tasks', query: leaseQuery, ...spec },
  ({ broker }: Deps) =>
    ({ query }, reply) =>
      lease(broker, query, reply),
);

export const leaseTasksByPost = operation(
  {
    id: 'leaseTasksByPost',
    summary: 'Lease tasks, for proxies that repeat GETs',
    body: leaseBody,
    bodyOptional: true,
    example: { queue: ['emails', 'reports'], order: 'fair', max: 10, waitMs: 20_000, workerId: 'w-1' },
    ...spec,
    problems: [...spec.problems, 'unsupported_media_type'],
  },
  ({ broker }: Deps) =>
    ({ body }, reply) =>
      lease(broker, body, reply),
);
