import type { EnqueueReply, Pressure } from '../src/broker/broker.ts';
import { idempotencyKeyOf, refuseIdempotencyKeyHeader } from '../src/http/idempotency.ts';
import { operation } from '../src/http/operation.ts';
import { type Fault, Problem, problemDocument, sendProblem } from '../src/http/problem.ts';
import { refusalDetail } from '../src/http/refusals.ts';
import { traceOf } from '../src/http/trace-context.ts';
import type { EnqueuedTask } from '../src/store/store.ts';
import type { Deps } from './deps.ts';
import { toEntries } from './new-task.ts';
import { EXAMPLES } from './schemas/examples.ts';
import { newTask, newTaskBatch } from './schemas/new-task.ts';
import { enqueuedTask, partBatch, taskList } from './schemas/task.ts';
import { enqueuedView } from './task-view.ts';

/** Why no new tasks are taken. An operator finds the figures in the log. */
const UNDER_PRESSURE: Record<Pressure, string> = {
  event_loop: 'This broker is overloaded and takes no new tasks for the moment. Nothing was stored.',
  heap: 'This broker is short of memory and takes no new tasks for the moment. Nothing was stored.',
  store: 'The storage is almost full and takes no new tasks for the moment. Nothing was stored.',
  eviction:
    'The storage is set so that it may throw away what it holds, so no new tasks are taken. Nothing was stored.',
};

type Refused = Extract<EnqueueReply, { outcome: 'refused' }>;

const REPLAYED = 'idempotency-replayed';
const TRACE_HEADERS = {
  traceparent: 'W3C trace context; stored with the task and handed to the worker.',
  tracestate: 'W3C trace context.',
};

const PROBLEMS = [
  'payload_too_large',
  'unsupported_media_type',
  'idempotency_key_reused',
  'unique_conflict',
  'queue_full',
  'store_unavailable',
  'shutting_down',
  'store_full',
] as const;

/** What is wrong with an entry that has the whole request refused, and where in the entry. */
const REFUSALS: Record<Refused['code'], { part: string | null; detail: string; whole: string }> = {
  idempotency_key_reused: {
    part: 'idempotencyKey',
    detail: 'was used within 24 hours for this queue with another body',
    whole: 'An idempotency key was used within 24 hours for this queue with another body. Nothing was stored.',
  },
  unique_conflict: {
    part: 'unique',
    detail: 'another task of the queue holds the key',
    whole: 'Another task of the queue holds the unique key. Nothing was stored.',
  },
  queue_full: {
    part: null,
    detail: 'has no room in its queue',
    whole: 'The queue holds as many tasks as its maxBacklog allows. Nothing was stored.',
  },
};

/** Refuses the whole request. @param pointerOf where a part of the entry at an index is */
function refuse({ code, indexes }: Refused, pointerOf: (index: number, part: string) => string): Problem {
  const { part, detail, whole } = REFUSALS[code];
  if (part === null) return new Problem(code, whole);
  const errors: Fault[] = indexes.map((index) => ({ pointer: pointerOf(index, part), detail }));
  return new Problem(code, whole, { errors });
}

function underPressure(pressure: Pressure): Problem {
  return new Problem('store_unavailable', UNDER_PRESSURE[pressure]);
}

/** 201 for what was stored, 200 for what was there. */
function statusOf({ replayed, deduplicated }: EnqueuedTask): number {
  return replayed || deduplicated ? 200 : 201;
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
        description:
          'Posted before with this Idempotency-Key: the first task, as it is now. Or its unique key is held by another task: that one, with "deduplicated": true.',
        schema: enqueuedTask,
        example: EXAMPLES.summary,
        headers: { 'Idempotency-Replayed': 'true', Location: 'Path of the task.' },
      },
      201: {
        description: 'Stored. Without payload, checkpoint and result.',
        schema: enqueuedTask,
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
      if (posted.outcome === 'under_pressure') throw underPressure(posted.pressure);
      if (posted.outcome === 'refused') {
        throw refuse(posted, (_index, part) => (part === 'idempotencyKey' ? '/headers/idempotency-key' : `/${part}`));
      }
      const [result] = posted.results;
      if (result?.outcome !== 'stored') {
        const code = result?.code ?? 'internal_error';
        return sendProblem(reply, code, refusalDetail(code, body.queue));
      }
      reply.code(statusOf(result)).header('location', `/tasks/${result.task.id}`);
      if (result.replayed) reply.header(REPLAYED, 'true');
      return enqueuedView(result, broker.now());
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
        description: 'Stored (or found, by idempotency key or unique key), in order.',
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
      if (posted.outcome === 'under_pressure') throw underPressure(posted.pressure);
      if (posted.outcome === 'refused') throw refuse(posted, (index, part) => `/tasks/${index}/${part}`);
      const now = broker.now();
      const { results } = posted;
      const stored = results.flatMap((result) => (result.outcome === 'stored' ? [enqueuedView(result, now)] : []));
      if (stored.length === results.length) {
        reply.code(201);
        return { tasks: stored };
      }
      reply.code(207);
      return {
        results: results.map((result, index) => {
          if (result.outcome === 'stored') {
            return { status: statusOf(result), task: enqueuedView(result, now) };
          }
          const detail = refusalDetail(result.code, tasks[index]?.queue ?? '');
          const problem = problemDocument(result.code, detail, '/tasks/batch');
          return { status: problem.status, problem };
        }),
        failed: results.length - stored.length,
      };
    },
);
