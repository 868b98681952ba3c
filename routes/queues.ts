import type { FastifyReply } from 'fastify';
import { NAME_PATTERN } from '../src/domain/names.ts';
import { operation } from '../src/http/operation.ts';
import { invalid } from '../src/http/problem.ts';
import { sendRefusal } from '../src/http/refusals.ts';
import type { Deps } from './deps.ts';
import { nextPage } from './next-page.ts';
import { queueStatsView, queueView } from './queue-view.ts';
import { EXAMPLES } from './schemas/examples.ts';
import {
  deleteQueueQuery,
  purgeBody,
  purgeReply,
  queue,
  queueListQuery,
  queuePage,
  queueParams,
  queueSettings,
  queueStats,
} from './schemas/queue.ts';

const STORE_PROBLEMS = ['store_unavailable', 'shutting_down'] as const;

export const listQueues = operation(
  {
    id: 'listQueues',
    tag: 'Queues',
    summary: 'List queues by name',
    query: queueListQuery,
    replies: {
      200: {
        description: 'A page, in byte order of the names.',
        schema: queuePage,
        example: { queues: [EXAMPLES.queue], nextCursor: null },
        headers: { Link: 'rel="next", while there is a next page.' },
      },
    },
    problems: STORE_PROBLEMS,
  },
  ({ broker }: Deps) =>
    async ({ query: { limit, cursor }, raw }, reply) => {
      const page = await broker.queues({ after: cursor === undefined ? null : nameOf(cursor), limit });
      const nextCursor = page.next === null ? null : cursorOf(page.next);
      if (nextCursor !== null) reply.header('link', nextPage(raw.url, nextCursor));
      return { queues: page.queues.map((found) => queueView(broker, found, page.now)), nextCursor };
    },
);

/** Cursors are the last name of a page, wrapped, so that nobody comes to rely on it. */
function cursorOf(name: string): string {
  return Buffer.from(name).toString('base64url');
}

function nameOf(cursor: string): string {
  const name = Buffer.from(cursor, 'base64url').toString();
  if (NAME_PATTERN.test(name) && cursorOf(name) === cursor) return name;
  throw invalid([{ pointer: '/cursor', detail: 'must be the "nextCursor" of a page' }]);
}

export const getQueue = operation(
  {
    id: 'getQueue',
    tag: 'Queues',
    summary: 'Get a queue',
    params: queueParams,
    replies: { 200: { description: 'The queue.', schema: queue, example: EXAMPLES.queue } },
    problems: ['queue_not_found', ...STORE_PROBLEMS],
  },
  ({ broker }: Deps) =>
    async ({ params }, reply) => {
      const found = await broker.queue(params.queue);
      if (found.queue === null) return sendRefusal(reply, 'queue_not_found', params.queue);
      return queueView(broker, found.queue, found.now);
    },
);

export const getQueueStats = operation(
  {
    id: 'getQueueStats',
    tag: 'Queues',
    summary: 'Numbers for autoscalers',
    description: 'Zeros for a queue that does not exist yet. `completed` and `dead` count what is retained.',
    params: queueParams,
    replies: {
      200: {
        description: 'Flat numbers.',
        schema: queueStats,
        example: {
          ready: 17,
          scheduled: 2,
          blocked: 0,
          leased: 3,
          completed: 120,
          dead: 1,
          waiters: 0,
          oldestReadyAgeMs: 840,
          backlog: 20,
        },
      },
    },
    problems: STORE_PROBLEMS,
  },
  ({ broker }: Deps) =>
    async ({ params }) =>
      queueStatsView(broker, params.queue, await broker.queue(params.queue)),
);

export const putQueue = operation(
  {
    id: 'putQueue',
    tag: 'Queues',
    summary: 'Make a queue, or set its whole configuration',
    description: 'What is left out returns to the default. Takes effect at once, also on tasks that wait.',
    params: queueParams,
    body: queueSettings,
    bodyOptional: true,
    example: { leaseMs: 60_000, backoff: { type: 'fixed', baseMs: 5000 } },
    replies: {
      200: { description: 'Changed.', schema: queue, example: EXAMPLES.queue },
      201: {
        description: 'Made.',
        schema: queue,
        example: EXAMPLES.queue,
        headers: { Location: 'Path of the queue.' },
      },
    },
    problems: ['unsupported_media_type', 'payload_too_large', ...STORE_PROBLEMS, 'store_full'],
  },
  ({ broker }: Deps) =>
    async ({ params, body }, reply) => {
      const { now, created, queue: configured } = await broker.configureQueue(params.queue, body, 'replace');
      reply.code(created ? 201 : 200);
      if (created) reply.header('location', `/queues/${params.queue}`);
      return queueView(broker, configured, now);
    },
);

export const patchQueue = operation(
  {
    id: 'patchQueue',
    tag: 'Queues',
    summary: 'Change some of a queue’s configuration',
    params: queueParams,
    body: queueSettings,
    example: { maxAttempts: 10 },
    replies: { 200: { description: 'Changed.', schema: queue, example: EXAMPLES.queue } },
    problems: ['queue_not_found', 'unsupported_media_type', 'payload_too_large', ...STORE_PROBLEMS, 'store_full'],
  },
  ({ broker }: Deps) =>
    async ({ params, body }, reply) => {
      const before = await broker.queue(params.queue);
      if (before.queue === null) return sendRefusal(reply, 'queue_not_found', params.queue);
      const { now, queue: configured } = await broker.configureQueue(params.queue, body, 'merge');
      return queueView(broker, configured, now);
    },
);

export const deleteQueue = operation(
  {
    id: 'deleteQueue',
    tag: 'Queues',
    summary: 'Delete a queue',
    params: queueParams,
    query: deleteQueueQuery,
    description:
      'A queue is refused (409) before anything is deleted, or not at all. Work that comes in while finished tasks are being deleted is kept, and with it the queue, its configuration and idempotency keys that it still knows; the answer is 204 then too.',
    replies: { 204: { description: 'Deleted, with its finished tasks.' } },
    problems: ['queue_not_found', 'queue_not_empty', 'unsupported_media_type', ...STORE_PROBLEMS, 'store_full'],
  },
  ({ broker }: Deps) =>
    async ({ params, query: { force } }, reply) => {
      const outcome = await broker.deleteQueue(params.queue, force);
      if (outcome === 'deleted') return reply.code(204).send();
      return sendRefusal(reply, outcome === 'not_empty' ? 'queue_not_empty' : 'queue_not_found', params.queue);
    },
);

/** Answers with the queue after `change`, unless that finds none. */
async function answerChanged(
  { broker }: Deps,
  name: string,
  reply: FastifyReply,
  change: Promise<boolean>,
): Promise<unknown> {
  if (!(await change)) return sendRefusal(reply, 'queue_not_found', name);
  const { now, queue: changed } = await broker.queue(name);
  return changed === null ? sendRefusal(reply, 'queue_not_found', name) : queueView(broker, changed, now);
}

export const pauseQueue = operation(
  {
    id: 'pauseQueue',
    tag: 'Queues',
    summary: 'Stop grants',
    description: 'Enqueues, settles and heartbeats go on.',
    params: queueParams,
    replies: { 200: { description: 'Paused.', schema: queue, example: { ...EXAMPLES.queue, paused: true } } },
    problems: ['queue_not_found', 'unsupported_media_type', ...STORE_PROBLEMS, 'store_full'],
  },
  (deps: Deps) =>
    ({ params }, reply) =>
      answerChanged(deps, params.queue, reply, deps.broker.pauseQueue(params.queue)),
);

export const resumeQueue = operation(
  {
    id: 'resumeQueue',
    tag: 'Queues',
    summary: 'Grant again',
    params: queueParams,
    replies: { 200: { description: 'Resumed.', schema: queue, example: EXAMPLES.queue } },
    problems: ['queue_not_found', 'unsupported_media_type', ...STORE_PROBLEMS, 'store_full'],
  },
  (deps: Deps) =>
    ({ params }, reply) =>
      answerChanged(deps, params.queue, reply, deps.broker.resumeQueue(params.queue)),
);

export const purgeQueue = operation(
  {
    id: 'purgeQueue',
    tag: 'Queues',
    summary: 'Delete the tasks in some states',
    description:
      'Tasks that come in meanwhile may stay. What workers hold cannot be purged. It goes in steps: where it ends with an error, what was deleted so far stays deleted, and a purge that is asked for again deletes the rest.',
    params: queueParams,
    body: purgeBody,
    example: { states: ['dead', 'cancelled'] },
    replies: {
      200: {
        description: 'How many were deleted.',
        schema: purgeReply,
        example: { purged: { dead: 1, cancelled: 0 } },
      },
    },
    problems: ['queue_not_found', 'unsupported_media_type', 'payload_too_large', ...STORE_PROBLEMS, 'store_full'],
  },
  ({ broker }: Deps) =>
    async ({ params, body: { states } }, reply) => {
      const purged = await broker.purgeQueue(params.queue, [...new Set(states)]);
      return purged === null ? sendRefusal(reply, 'queue_not_found', params.queue) : { purged };
    },
);
