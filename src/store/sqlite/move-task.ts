import type { NewTask } from '../../domain/task.ts';
import type { Data } from './data.ts';
import { enqueue } from './enqueue.ts';
import type { Queue } from './queue-table.ts';
import { pruneTask } from './retention.ts';
import type { Task } from './task-row.ts';

/**
 * Stores a task that has ended as a new one in another queue, with what workers said of it, and deletes it from its own as retention
 * would. Nothing is done where that queue is full, where another task there holds its unique key, or where the task has lost its body,
 * which is for the doctor to say.
 */
export function moveTask(
  data: Data,
  task: Task,
  queue: Queue,
  to: string,
  id: string,
): 'moved' | 'unique_conflict' | 'queue_full' | 'no_body' {
  const asked = asNew(data, task, id);
  if (asked === null) return 'no_body';
  const [outcome] = enqueue(data, [{ queue: to, tasks: [asked] }]).results;
  switch (outcome?.outcome) {
    case 'stored':
      data.tasks.copyNotes(task, id);
      pruneTask(data, task, queue);
      return 'moved';
    case 'unique_conflict':
    case 'queue_full':
      return outcome.outcome;
    default:
      throw new Error(`task ${task.id} cannot be stored in another queue`);
  }
}

/** What its producer asked for, but for what was about its own queue and the time it was to run at; null without a body. */
function asNew(data: Data, task: Task, id: string): NewTask | null {
  const stored = data.tasks.fullById(task.id);
  if (stored === null) return null;
  const { payload, tags, metadata, trace } = stored.details;
  const { type, priority, leaseMs, maxAttempts, groupKey, retentionMs } = task;
  const unique = data.uniques.of(task);
  return {
    ...{ id, type, payload, priority, delayMs: null, runAt: null, ttlMs: null, leaseMs, maxAttempts },
    ...{ backoff: data.tasks.backoff(task), tags, metadata, trace, groupKey, retentionMs, idempotency: null },
    unique: unique && { ...unique, onConflict: 'reject' },
  };
}
