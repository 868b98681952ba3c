import { createHash } from 'node:crypto';
import { HeldForClient } from '../src/http/client-gone.ts';
import { operation } from '../src/http/operation.ts';
import { sendProblem } from '../src/http/problem.ts';
import { sendRefusal } from '../src/http/refusals.ts';
import { serialiserOf } from '../src/http/serialisation.ts';
import type { Deps } from './deps.ts';
import { nextPage } from './next-page.ts';
import { EXAMPLES } from './schemas/examples.ts';
import { cancelBody, MAX_FULL_PAGE, task, taskListQuery, taskPage, taskParams, taskQuery } from './schemas/task.ts';
import { taskSummary, taskView } from './task-view.ts';

const NOTHING_HELD = { delivered: () => {}, giveBack: () => {} };

const JSON_MEDIA_TYPE = 'application/json; charset=utf-8';

export const listTasks = operation(
  {
    id: 'listTasks',
    tag: 'Tasks',
    summary: 'List tasks of a queue',
    description: `A page may hold fewer tasks than its limit, even none, and still have a next one: what it costs is bounded. A cursor goes with the order and the kind of list that it came from. With view=full a page holds at most ${MAX_FULL_PAGE}.`,
    query: taskListQuery,
    replies: {
      200: {
        description: 'A page.',
        schema: taskPage,
        example: { tasks: [EXAMPLES.summary], nextCursor: null },
        headers: { Link: 'rel="next", while there is a next page.' },
      },
    },
    problems: ['store_unavailable', 'shutting_down'],
  },
  ({ broker }: Deps) =>
    async ({ query, raw }, reply) => {
      const { queue, state = null, type = null, order, limit, cursor = null, view } = query;
      const { tag = null, errorCode = null, createdAfter = null, createdBefore = null } = query;
      const filters = { state, type, tag, errorCode, createdAfter, createdBefore };
      const page = await broker.tasks({ queue, ...filters, order, limit, cursor });
      if (page.next !== null) reply.header('link', nextPage(raw.url, page.next));
      const show = view === 'full' ? taskView : taskSummary;
      return { tasks: page.tasks.map((found) => show(found, page.now)), nextCursor: page.next };
    },
);

export const getTask = operation(
  {
    id: 'getTask',
    tag: 'Tasks',
    summary: 'Get a task',
    description: 'With `waitMs`, the reply comes once the task is terminal, or as it is when the wait has run out.',
    params: taskParams,
    query: taskQuery,
    headers: { 'If-None-Match': 'An ETag of before.' },
    replies: {
      200: {
        description: 'The task.',
        schema: task,
        example: EXAMPLES.completed,
        headers: { ETag: 'Of everything but lease.remainingMs.' },
      },
      304: { description: 'Unchanged since the ETag that was sent.', headers: { ETag: 'The same.' } },
    },
    problems: ['task_not_found', 'too_many_waiters', 'store_unavailable', 'shutting_down'],
  },
  ({ broker }: Deps) => {
    const serialise = serialiserOf(task);
    return async ({ params: { id }, query: { waitMs }, headers }, reply) => {
      const found =
        waitMs === 0
          ? await broker.task(id)
          : await broker.finishedTask(id, waitMs, new HeldForClient(reply.raw, NOTHING_HELD).signal);
      if (found === 'too_many_waiters') {
        return sendProblem(reply, 'too_many_waiters', 'This broker holds as many long-polls as it may.');
      }
      if (found === null) return sendRefusal(reply, 'task_not_found', id);
      const view = taskView(found, broker.now());
      const text = serialise(view);
      const steady = view.lease ? serialise({ ...view, lease: { ...view.lease, remainingMs: 0 } }) : text;
      const etag = `W/"${createHash('sha256').update(steady).digest('base64url').slice(0, 22)}"`;
      reply.header('etag', etag);
      if (matches(headers['if-none-match'], etag)) return reply.code(304).send();
      return reply.header('content-type', JSON_MEDIA_TYPE).send(text);
    };
  },
);

/** Whether an If-None-Match header names the tag; compared weakly, as RFC 9110 has it. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const opaque = etag.slice('W/'.length);
  return header.split(',').some((tag) => {
    const given = tag.trim();
    return given === '*' || given === etag || given === opaque;
  });
}

export const cancelTask = operation(
  {
    id: 'cancelTask',
    tag: 'Tasks',
    summary: 'Cancel a task',
    description:
      'A leased task is not taken from its worker, who learns of it at the next heartbeat, unless "force" is set.',
    params: taskParams,
    body: cancelBody,
    bodyOptional: true,
    example: { reason: 'order withdrawn', force: false },
    replies: {
      200: { description: 'Cancelled, now or before.', schema: task, example: EXAMPLES.cancelled },
      202: {
        description: 'Requested: a worker holds it.',
        schema: task,
        example: { ...EXAMPLES.whole, state: 'leased', attempt: 1, deliveries: 1, cancelRequested: true },
      },
    },
    problems: [
      'task_not_found',
      'already_settled',
      'unsupported_media_type',
      'store_unavailable',
      'shutting_down',
      'store_full',
    ],
  },
  ({ broker }: Deps) =>
    async ({ params: { id }, body: { reason, force } }, reply) => {
      const outcome = await broker.cancel({ id, reason: reason ?? null, force });
      if (outcome.outcome === 'refused') return sendRefusal(reply, outcome.code, id);
      reply.code(outcome.outcome === 'requested' ? 202 : 200);
      return taskView(outcome.task, broker.now());
    },
);

export const redriveTask = operation(
  {
    id: 'redriveTask',
    tag: 'Tasks',
    summary: 'Send a dead, cancelled or expired task back',
    description:
      'It is ready again with all its attempts, at the back of its line, and holds its unique key again, unless another task has that. Its old tokens are worthless.',
    params: taskParams,
    replies: { 200: { description: 'The task, ready.', schema: task, example: EXAMPLES.whole } },
    problems: [
      'task_not_found',
      'not_redrivable',
      'unique_conflict',
      'unsupported_media_type',
      'store_unavailable',
      'shutting_down',
      'store_full',
    ],
  },
  ({ broker }: Deps) =>
    async ({ params: { id } }, reply) => {
      const outcome = await broker.redrive(id);
      if (outcome.outcome === 'refused') return sendRefusal(reply, outcome.code, id);
      return taskView(outcome.task, broker.now());
    },
);

export const deleteTask = operation(
  {
    id: 'deleteTask',
    tag: 'Tasks',
    summary: 'Delete a task that has ended',
    params: taskParams,
    replies: { 204: { description: 'Deleted. Its idempotency key is free.' } },
    problems: [
      'task_not_found',
      'task_active',
      'unsupported_media_type',
      'store_unavailable',
      'shutting_down',
      'store_full',
    ],
  },
  ({ broker }: Deps) =>
    async ({ params: { id } }, reply) => {
      const outcome = await broker.remove(id);
      if (outcome.outcome === 'refused') return sendRefusal(reply, outcome.code, id);
      return reply.code(204).send();
    },
);
