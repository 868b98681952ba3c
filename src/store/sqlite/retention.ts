import { MIN_RETENTION_BY_COUNT_MS } from '../../domain/limits.ts';
import { isTerminal, TERMINAL_STATES, type TerminalState } from '../../domain/task.ts';
import type { Data } from './data.ts';
import { regroup } from './groups.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';

/**
 * Retention is not urgent: it is asked for at most this often, in ms, so that a busy queue is pruned in steps
 * worth a transaction. A sweep that runs for another reason prunes all that is due.
 */
export const RETENTION_PAUSE_MS = 1000;

/** How long a task is kept after it finished in `state`, in ms. */
function retentionAge(state: TerminalState, { config: { retention } }: Queue): number {
  return state === 'dead' ? retention.deadMs : retention.completedMs;
}

/** How many tasks of `state` the queue holds beyond those it keeps. */
function excess(state: TerminalState, { config: { retention }, counts }: Queue): number {
  return state === 'dead' ? 0 : Math.max(0, counts[state] - retention.completedMax);
}

/**
 * When a task that finished at `finishedAt`, or one that it crowds out, is to be pruned at the latest.
 * @param own how long the task itself asks to be kept
 */
export function retentionDue(queue: Queue, state: TerminalState, finishedAt: number, own: number | null): number {
  const age = own ?? retentionAge(state, queue);
  return finishedAt + (excess(state, queue) > 0 ? Math.min(RETENTION_PAUSE_MS, age) : age);
}

/** Has the queue looked at when the task that has just finished, or one that it crowds out, is to be pruned. */
export function noteFinished(data: Data, queue: Queue, state: TerminalState, now: number, own: number | null): void {
  const due = excess(state, queue) > 0 ? now : now + (own ?? retentionAge(state, queue));
  if (queue.retainAt !== null && queue.retainAt <= due) return;
  queue.retainAt = due;
  data.queues.touch(queue);
}

/** Sets anew when the queue has to be looked at: exactly then the first of its tasks may be pruned. */
export function planRetention(data: Data, queue: Queue): void {
  let first = data.agenda.firstKeptUntil(queue) ?? Number.POSITIVE_INFINITY;
  for (const state of TERMINAL_STATES) {
    if (queue.counts[state] === 0) continue;
    const { aging, kept } = data.agenda.oldestFinished(queue, state);
    if (aging !== null) first = Math.min(first, aging + retentionAge(state, queue));
    if (excess(state, queue) <= 0) continue;
    const oldest = Math.min(aging ?? Number.POSITIVE_INFINITY, kept ?? Number.POSITIVE_INFINITY);
    first = Math.min(first, oldest + MIN_RETENTION_BY_COUNT_MS);
  }
  queue.retainAt = Number.isFinite(first) ? first : null;
  data.queues.touch(queue);
}

/** Deletes up to `limit` tasks that the queue no longer keeps; answers how many. Numbers are judged by what time has left. */
export function prune(data: Data, queue: Queue, now: number, limit: number): number {
  let pruned = 0;
  const pruneAll = (tasks: readonly Task[]): void => {
    for (const task of tasks) pruneTask(data, task, queue);
    pruned += tasks.length;
  };
  pruneAll(data.agenda.keptUntil(queue, now, limit));
  for (const state of TERMINAL_STATES) {
    if (queue.counts[state] === 0) continue;
    pruneAll(data.agenda.agingUntil(queue, state, now - retentionAge(state, queue), limit - pruned));
    const beyond = Math.min(excess(state, queue), limit - pruned);
    if (beyond > 0) pruneAll(data.agenda.finishedUntil(queue, state, now - MIN_RETENTION_BY_COUNT_MS, beyond));
  }
  if (pruned < limit) planRetention(data, queue);
  return pruned;
}

/** Deletes a task; its idempotency key goes on answering for it. */
export function pruneTask(data: Data, task: Task, queue: Queue): void {
  const key = data.tasks.delete(task);
  if (key !== null) data.keys.keep(task, key);
  forget(data, task, queue);
}

/** Deletes a task and frees its idempotency key. */
export function discard(data: Data, task: Task, queue: Queue): void {
  const key = data.tasks.delete(task);
  if (key !== null) data.keys.free(task, key);
  forget(data, task, queue);
  if (task.groupKey !== null && !isTerminal(task.state)) regroup(data, queue, task.groupKey, null);
}

function forget(data: Data, task: Task, queue: Queue): void {
  queue.counts[task.state] -= 1;
  data.queues.touch(queue);
}
