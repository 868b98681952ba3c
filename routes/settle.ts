import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import type { Broker, SettleRequest } from '../src/broker/broker.ts';
import type { Grant } from '../src/domain/task.ts';
import { HeldForClient } from '../src/http/client-gone.ts';
import { JsonFields } from '../src/http/json-fields.ts';
import { operation } from '../src/http/operation.ts';
import { refusedTask, sendRefusal } from '../src/http/refusals.ts';
import { toRfc3339 } from '../src/http/time.ts';
import type { SettleOutcome } from '../src/store/store.ts';
import type { Deps } from './deps.ts';
import { EXAMPLES } from './schemas/examples.ts';
import {
  ackBody,
  acked,
  extended,
  heartbeatBody,
  nackBody,
  nacked,
  releaseBody,
  type SettleBody,
  settleBody,
  settled,
  settleReply,
} from './schemas/settle.ts';
import { taskParams } from './schemas/task.ts';
import { toAckRequest, toSettleRequest } from './settle-request.ts';
import { leasedTaskView, remaining } from './task-view.ts';

type AckBody = z.output<typeof ackBody>;
type Settled = Extract<SettleOutcome, { outcome: 'settled' }>;

const spec = {
  tag: 'Leases',
  params: taskParams,
  problems: [
    'task_not_found',
    'lease_lost',
    'already_settled',
    'task_cancelled',
    'payload_too_large',
    'unsupported_media_type',
    'store_unavailable',
    'shutting_down',
    'store_full',
  ],
} as const;

const example = { leaseToken: EXAMPLES.token };
const REPEATABLE = 'Every 4xx is final. After a timeout or a 5xx, send it again: nothing happens twice.';

/** What the reply says beyond what all verbs answer. */
function answer(id: string, verb: SettleRequest['verb'], outcome: Settled, now: number): Record<string, unknown> {
  const { state, attempt, late, replayed } = outcome;
  const reply: Record<string, unknown> = { id, state, attempt, late, replayed };
  if (verb === 'nack') reply['runAt'] = toRfc3339(outcome.runAt);
  if (verb === 'heartbeat') {
    const expiresAt = outcome.leaseExpiresAt ?? now;
    reply['lease'] = { expiresAt: toRfc3339(expiresAt), remainingMs: remaining(expiresAt, now) };
    reply['cancelRequested'] = outcome.cancelRequested;
  }
  return reply;
}

/** An ack, and a lease where it asks for one. */
async function ack(broker: Broker, id: string, body: AckBody, reply: FastifyReply): Promise<unknown> {
  const { leaseToken, result, leaseNext } = body;
  const json = new JsonFields();
  const request = toAckRequest({ id, leaseToken, result }, json);
  json.check();
  // Only what is leased has to be watched over.
  const client = leaseNext && new HeldForClient<readonly Grant[]>(reply.raw, broker);
  const next = leaseNext && { ...leaseNext, leaseMs: leaseNext.leaseMs ?? null, workerId: leaseNext.workerId ?? null };
  const { now, outcome, grants } = await broker.ack(request, next ?? null);
  if (outcome.outcome === 'refused') return sendRefusal(reply, outcome.code, id);
  if (grants.length > 0) client?.hold(grants);
  const acknowledged = answer(id, 'ack', outcome, now);
  acknowledged['next'] = grants.map((grant) => leasedTaskView(grant, now));
  return acknowledged;
}

async function settle(broker: Broker, body: SettleBody, reply: FastifyReply): Promise<unknown> {
  const json = new JsonFields();
  const request = toSettleRequest(body, json);
  json.check();
  const { now, results } = await broker.settle([request]);
  const [outcome] = results;
  if (outcome === undefined) throw new Error('the broker answered a settle with nothing');
  if (outcome.outcome === 'refused') return sendRefusal(reply, outcome.code, body.id);
  return answer(body.id, request.verb, outcome, now);
}

export const ackTask = operation(
  {
    ...spec,
    id: 'ackTask',
    summary: 'Say that a task is done',
    description: REPEATABLE,
    body: ackBody,
    example: { ...example, result: { messageId: 'm-17' }, leaseNext: { max: 1 } },
    replies: {
      200: { description: 'Completed.', schema: acked, example: { ...EXAMPLES.settled, next: [EXAMPLES.leased] } },
    },
  },
  ({ broker }: Deps) =>
    ({ params: { id }, body }, reply) =>
      ack(broker, id, body, reply),
);

export const nackTask = operation(
  {
    ...spec,
    id: 'nackTask',
    summary: 'Say that a task failed',
    description: `It is tried again after its backoff, while attempts are left. ${REPEATABLE}`,
    body: nackBody,
    example: { ...example, error: { code: 'smtp_421', message: 'Service not available' } },
    replies: {
      200: {
        description: 'Scheduled for the next attempt, ready, or dead.',
        schema: nacked,
        example: { ...EXAMPLES.settled, state: 'scheduled', runAt: '2030-01-31T09:30:01.130Z' },
      },
    },
  },
  ({ broker }: Deps) =>
    ({ params: { id }, body }, reply) =>
      settle(broker, { ...body, id, op: 'nack' }, reply),
);

export const releaseTask = operation(
  {
    ...spec,
    id: 'releaseTask',
    summary: 'Give a task back unharmed',
    description: `The attempt does not count, and the task takes its old place in line. ${REPEATABLE}`,
    body: releaseBody,
    example,
    replies: {
      200: {
        description: 'Ready, or scheduled when a delay was asked for.',
        schema: settled,
        example: { ...EXAMPLES.settled, state: 'ready', attempt: 0 },
      },
    },
  },
  ({ broker }: Deps) =>
    ({ params: { id }, body }, reply) =>
      settle(broker, { ...body, id, op: 'release' }, reply),
);

export const heartbeatTask = operation(
  {
    ...spec,
    id: 'heartbeatTask',
    summary: 'Keep a lease alive',
    description: 'The token stays the same. No heartbeat extends an attempt beyond 12 hours.',
    body: heartbeatBody,
    example: { ...example, progress: { percent: 40 }, checkpoint: { page: 12 } },
    replies: {
      200: {
        description: 'The new deadline, and whether somebody wants the task cancelled.',
        schema: extended,
        example: {
          ...EXAMPLES.settled,
          state: 'leased',
          lease: { expiresAt: '2030-01-31T09:31:00.000Z', remainingMs: 30_000 },
          cancelRequested: false,
        },
      },
    },
  },
  ({ broker }: Deps) =>
    ({ params: { id }, body }, reply) =>
      settle(broker, { ...body, id, op: 'heartbeat' }, reply),
);

export const settleMany = operation(
  {
    id: 'settleTasks',
    tag: 'Leases',
    summary: 'Settle or keep up to 1000 leases at once',
    description: `Each item fares by itself. ${REPEATABLE}`,
    body: settleBody,
    example: {
      items: [
        { id: EXAMPLES.id, op: 'ack', ...example, result: null },
        { id: EXAMPLES.id, op: 'release', leaseToken: 'stale' },
      ],
    },
    replies: {
      200: {
        description: 'All went well, in order.',
        schema: settleReply,
        example: { results: [{ ...EXAMPLES.settled, status: 200 }], failed: 0 },
      },
      207: {
        description: 'Some were refused, each with a problem of its own.',
        schema: settleReply,
        example: {
          results: [
            { ...EXAMPLES.settled, status: 200 },
            { id: EXAMPLES.id, status: 409, problem: refusedTask('lease_lost', EXAMPLES.id) },
          ],
          failed: 1,
        },
      },
    },
    problems: ['payload_too_large', 'unsupported_media_type', 'store_unavailable', 'shutting_down', 'store_full'],
  },
  ({ broker }: Deps) =>
    async ({ body: { items } }, reply) => {
      const json = new JsonFields();
      const requests = items.map((item, index) => toSettleRequest(item, json, `/items/${index}`));
      json.check();
      const { now, results } = await broker.settle(requests);
      let failed = 0;
      const answers = results.map((outcome, index) => {
        const { id = '', verb = 'ack' } = requests[index] ?? {};
        if (outcome.outcome === 'settled') return { ...answer(id, verb, outcome, now), status: 200 };
        failed++;
        const problem = refusedTask(outcome.code, id);
        return { id, status: problem.status, problem };
      });
      reply.code(failed === 0 ? 200 : 207);
      return { results: answers, failed };
    },
);
