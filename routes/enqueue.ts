import { idempotencyKeyOf, refuseIdempotencyKeyHeader } from '../src/http/idempotency.ts';
import { operation } from '../src/http/operation.ts';
import { type Fault, Problem, problemDocument, sendProblem } from '../src/http/problem.ts';
import { refusalDetail } from '../src/http/refusals.ts';
import { traceOf } from '../src/http/trace-context.ts';
import type { Deps } from './deps.ts';
import { toEntries } from './new-task.ts';
import { EXAMPLES } from './schemas/examples.ts';
import { newTask, newTaskBatch } from './schemas/new-task.ts';
import { partBatch, task, taskList } from './schemas/task.ts';
import { taskSummary } from './task-view.ts';

const REPLAYED = 'idempotency-replayed';
const TRACE_HEADERS = {
  traceparent: 'W3C trace context; stored with the task and handed to the worker.',
  tracestate: 'W3C trace context.',
};

const PROBLEMS = [
  'payload_too_large',
  'unsupported_media_type',
  'idempotency_key_reused',
  'store_unavailable',
  'shutting_down',
  'store_full',
] as const;

/** Refuses entries whose idempotency key was used before with another body. */
function keysReused(pointers: readonly string[]): Problem {
  const detail = 'was used within 24 hours for this queue with another body';
  const errors: Fault[] = pointers.map((pointer) => ({ pointer, detail }));
  return new Problem('idempotency_key_reused', `An idempotency key ${detail}. Nothing was stored.`, { errors });
}

export const enqueueTask = operation(
  {
    id: 'enqueueTask',
    tag: 'Tasks',
    summary: 'Post a task',
    description:
      'A 2xx means stored at the durability that /readyz tells. After a timeout or a 5xx, post again with the same Idempotency-Key, and the task is stored once.',
    headers: {
      'Idempotency-Key': '1–255 visible ASCII characters, quoted or bare, remembered for 24 hours per queue.',
      ...TRACE_HEADERS,
    },
    body: newTask,
    example: EXAMPLES.newTask,
    replies: {
      200: {
        description: 'Posted before with this Idempotency-Key: the first task, as it is now.',
        schema: task,
        example: EXAMPLES.summary,
        headers: { 'Idempotency-Replayed': 'true', Location: 'Path of the task.' },
      },
      201: {
        description: 'Stored. Without payload, checkpoint and result.',
        schema: task,
        example: EXAMPLES.summary,
        headers: { Location: 'Path of the task.' },
      },
    },
    problems: PROBLEMS,
  },
  ({ broker }: Deps) =>
    async ({ body, headers }, reply) => {
      const idempotencyKey = idempotencyKeyOf(headers) ?? undefined;
      const now = broker.now();
      const entries = toEntries([{ ...body, idempotencyKey }], { now, trace: traceOf(headers) }, () => '');
      const posted = await broker.enqueue(entries);
      if (posted.outcome === 'keys_reused') throw keysReused(['/headers/idempotency-key']);
      const [result] = posted.results;
      if (result?.outcome !== 'stored') {
        const code = result?.code ?? 'internal_error';
        return sendProblem(reply, code, refusalDetail(code, body.queue));
      }
      reply.code(result.replayed ? 200 : 201).header('location', `/tasks/${result.task.id}`);
      if (result.replayed) reply.header(REPLAYED, 'true');
      return taskSummary(result.task, broker.now());
    },
);

export const enqueueTasks = operation(
  {
    id: 'enqueueTasks',
    tag: 'Tasks',
    summary: 'Post up to 1000 tasks',
    description:
      'Validated as a whole: one bad entry, and nothing is stored. Stored atomically per queue, so that only a batch for several queues can be stored in part, after a store failure.',
    headers: TRACE_HEADERS,
    body: newTaskBatch,
    example: { tasks: [EXAMPLES.newTask, { queue: 'emails', payload: 17, idempotencyKey: 'order-17' }] },
    replies: {
      201: {
        description: 'Stored (or, by idempotency key, found), in order.',
        schema: taskList,
        example: { tasks: [EXAMPLES.summary] },
      },
      207: {
        description: 'The store failed after some queues had been served: each entry has a status of its own.',
        schema: partBatch,
        example: {
          results: [
            { status: 201, task: EXAMPLES.summary },
            {
              status: 503,
              problem: problemDocument('store_unavailable', 'The storage did not answer.', '/tasks/batch'),
            },
          ],
          failed: 1,
        },
      },
    },
    problems: PROBLEMS,
  },
  ({ broker }: Deps) =>
    async ({ body: { tasks }, headers }, reply) => {
      refuseIdempotencyKeyHeader(headers);
      const posting = { now: broker.now(), trace: traceOf(headers) };
      const posted = await broker.enqueue(toEntries(tasks, posting, (index) => `/tasks/${index}`));
      if (posted.outcome === 'keys_reused') {
        throw keysReused(posted.indexes.map((index) => `/tasks/${index}/idempotencyKey`));
      }
      const now = broker.now();
      const { results } = posted;
      const stored = results.flatMap((result) => (result.outcome === 'stored' ? [taskSummary(result.task, now)] : []));
      if (stored.length === results.length) {
        reply.code(201);
        return { tasks: stored };
      }
      reply.code(207);
      return {
        results: results.map((result, index) => {
          if (result.outcome === 'stored') {
            return { status: result.replayed ? 200 : 201, task: taskSummary(result.task, now) };
          }
          const detail = refusalDetail(result.code, tasks[index]?.queue ?? '');
          const problem = problemDocument(result.code, detail, '/tasks/batch');
          return { status: problem.status, problem };
        }),
        failed: results.length - stored.length,
      };
    },
);
