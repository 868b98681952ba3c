import { isBlockedByEither, LEASES_LOOKED_AT } from '../../domain/flow.ts';
import { loosens } from '../../domain/groups.ts';
import { mergeQueueSettings, type QueueSettings } from '../../domain/queue.ts';
import { DROPPED_STATES, isTerminal, QUEUE_KEEPING_STATES, type TaskState } from '../../domain/task.ts';
import type { ConfigureOutcome, QueuePage, QueueRecord } from '../store.ts';
import type { Data } from './data.ts';
import { rateClosedUntil } from './flow.ts';
import type { Queue } from './queue-table.ts';
import { discard, planRetention } from './retention.ts';

/** What one call deletes at most. */
const MAX_DELETED = 1000;

/** The queue as the port shows it. */
export function viewOf(data: Data, queue: Queue, now = data.now()): QueueRecord {
  const blockedByLease = isBlockedByEither(queue.counts) && data.groups.isBlockedByLease(queue, LEASES_LOOKED_AT);
  return { ...data.view.record(queue), rateOpensAt: rateClosedUntil(data, queue, now), blockedByLease };
}

export function queuePage(data: Data, after: string | null, limit: number): QueuePage {
  const found = data.queues.page(after ?? '', limit + 1);
  const queues = found.slice(0, limit).map((queue) => viewOf(data, queue));
  return { now: data.now(), queues, next: found.length > limit ? (queues.at(-1)?.name ?? null) : null };
}

export function configure(
  data: Data,
  name: string,
  settings: QueueSettings,
  mode: 'replace' | 'merge',
): ConfigureOutcome {
  const now = data.now();
  const found = data.queues.byName(name);
  const queue = found ?? data.queues.create(name, now, settings);
  if (found !== null) {
    const before = queue.config.groups;
    data.queues.configure(queue, mode === 'merge' ? mergeQueueSettings(queue.settings, settings) : settings);
    if (queue.counts.blocked > 0 && loosens(before, queue.config.groups)) data.groups.plan(queue.no, 0);
    if (queue.config.rateLimit === null) data.rates.forget(queue);
    planRetention(data, queue);
  }
  return { now, created: found === null, queue: viewOf(data, queue) };
}

export function setPaused(data: Data, name: string, paused: boolean): boolean {
  const queue = data.queues.byName(name);
  if (queue === null) return false;
  queue.paused = paused;
  data.queues.touch(queue);
  return true;
}

export function purge(data: Data, name: string, state: TaskState, limit: number): { purged: number } {
  const queue = data.queues.byName(name);
  if (queue === null || queue.counts[state] === 0) return { purged: 0 };
  const step = Math.min(limit, MAX_DELETED);
  const tasks = isTerminal(state)
    ? data.agenda.finishedUntil(queue, state, Number.MAX_SAFE_INTEGER, step)
    : data.agenda.ofState(queue, state, step);
  let purged = 0;
  for (const task of tasks) {
    // What is deleted of a group may bring another one of it to another state.
    if (task.groupKey !== null && data.tasks.byId(task.id)?.state !== state) continue;
    discard(data, task, queue);
    if (!isTerminal(state)) data.ends.note(task.id);
    purged += 1;
  }
  data.opened.clear();
  return { purged };
}

/** What one step of deleting a queue deletes. */
const DROP_STEP = 128;

export function dropQueue(data: Data, name: string): 'deleted' | 'more' | 'not_empty' | 'not_found' {
  const queue = data.queues.byName(name);
  if (queue === null) return 'not_found';
  if (QUEUE_KEEPING_STATES.some((state) => queue.counts[state] > 0)) return 'not_empty';
  let left = DROP_STEP;
  for (const state of DROPPED_STATES) {
    left -= purge(data, name, state, left).purged;
  }
  left -= data.keys.deleteOfQueue(queue, left);
  if (left <= 0) return 'more';
  data.rates.forget(queue);
  data.groups.drop(queue.no);
  data.queues.delete(queue);
  return 'deleted';
}
