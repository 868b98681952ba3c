import type { Grant, TaskRecord } from '../src/domain/task.ts';
import { raw } from '../src/http/serialisation.ts';
import { toRfc3339 } from '../src/http/time.ts';
import type { EnqueuedTask } from '../src/store/store.ts';
import type { EnqueuedTaskReply, LeasedTaskReply, TaskReply } from './schemas/task.ts';

const timeOrNull = (ms: number | null): string | null => (ms === null ? null : toRfc3339(ms));

/** A task without what is large, as lists and enqueue replies show it. @param now the store's clock */
export function taskSummary(task: TaskRecord, now: number): TaskReply {
  return {
    id: task.id,
    queue: task.queue,
    type: task.type,
    state: task.state,
    priority: task.priority,
    tags: [...task.tags],
    metadata: task.metadata,
    groupKey: task.groupKey,
    uniqueKey: task.uniqueKey,
    attempt: task.attempt,
    maxAttempts: task.maxAttempts,
    deliveries: task.deliveries,
    createdAt: toRfc3339(task.createdAt),
    runAt: toRfc3339(task.runAt),
    expiresAt: timeOrNull(task.expiresAt),
    finishedAt: timeOrNull(task.finishedAt),
    lease: task.lease && {
      workerId: task.lease.workerId,
      expiresAt: toRfc3339(task.lease.expiresAt),
      remainingMs: remaining(task.lease.expiresAt, now),
    },
    progress: raw(task.progress),
    lastError: task.lastError && {
      code: task.lastError.code,
      message: task.lastError.message,
      details: raw(task.lastError.details),
      attempt: task.lastError.attempt,
      at: toRfc3339(task.lastError.at),
    },
    cancelRequested: task.cancelRequested,
    trace: task.trace,
  };
}

/** A task as the reply to its enqueue shows it. @param now the store's clock */
export function enqueuedView({ task, deduplicated }: EnqueuedTask, now: number): EnqueuedTaskReply {
  const view: EnqueuedTaskReply = taskSummary(task, now);
  if (deduplicated) view.deduplicated = true;
  return view;
}

/** A whole task. @param now the store's clock */
export function taskView(task: TaskRecord, now: number): TaskReply {
  const view = taskSummary(task, now);
  view.payload = raw(task.payload);
  view.checkpoint = raw(task.checkpoint);
  view.result = raw(task.result);
  return view;
}

/** A task for the worker that was just granted it, with its token. @param now the store's clock */
export function leasedTaskView({ task, token }: Grant, now: number): LeasedTaskReply {
  const expiresAt = task.lease?.expiresAt ?? now;
  const lease = {
    token,
    fence: task.deliveries,
    expiresAt: toRfc3339(expiresAt),
    remainingMs: remaining(expiresAt, now),
    workerId: task.lease?.workerId ?? null,
  };
  return Object.assign(taskView(task, now), { lease });
}

/** Ms until a deadline, 0 when it has passed. */
export function remaining(expiresAt: number, now: number): number {
  return Math.max(0, Math.round(expiresAt - now));
}
