import { isTerminal } from '../../domain/task.ts';
import type { Queue } from './queue-table.ts';
import { retentionDue } from './retention.ts';
import type { Task } from './task-row.ts';

/** The earlier of two times, null being never. */
export function earlier(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null || a < b ? a : b;
}

/** When something will happen because of the task as it is now; null when nothing will. */
export function dueOf(task: Task, queue: Queue): number | null {
  if (task.state === 'leased') return task.deadline;
  if (isTerminal(task.state)) {
    return task.finishedAt === null ? null : retentionDue(queue, task.state, task.finishedAt, task.retentionMs);
  }
  return task.state === 'scheduled' ? earlier(task.runAt, task.expiresAt) : task.expiresAt;
}
