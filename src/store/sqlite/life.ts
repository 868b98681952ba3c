import { KEEPS_GROUP_PLACE } from '../../domain/groups.ts';
import { isTerminal, type TaskState } from '../../domain/task.ts';
import {
  LEASE_EXPIRED_ERROR,
  type LeaseEnd,
  type LeaseEndRule,
  leaseEndRule,
  overdue,
  type Place,
} from '../../domain/transitions.ts';
import type { Data } from './data.ts';
import { joinGroup } from './groups.ts';
import type { Queue } from './queue-table.ts';
import { noteFinished } from './retention.ts';
import type { Task } from './task-row.ts';

/** Added to a grant's number it gives a place in front of every other, in the order of the grants. */
const FRONT = -(2 ** 52);

/**
 * Moves a task to another state, in memory: its counts, place, lease and time of finishing follow. A lease is
 * entered by {@link takeLease} instead.
 * @param place where a task that becomes ready stands
 * @param keeps whether it keeps its place in the line of its group
 */
export function enter(
  data: Data,
  task: Task,
  queue: Queue,
  state: TaskState,
  now: number,
  place: Place = 'back',
  keeps = false,
): void {
  queue.counts[task.state] -= 1;
  queue.counts[state] += 1;
  data.queues.touch(queue);
  task.state = state;
  task.deadline = null;
  task.finishedAt = isTerminal(state) ? now : null;
  task.place = state === 'ready' ? placeFor(data, task, place) : null;
  if (state === 'dead') queue.totals.dead += 1;
  if (isTerminal(state)) {
    noteFinished(data, queue, state, now, task.retentionMs);
    if (task.uniqueHeld !== null) data.uniques.release(task, 'end');
    data.ends.note(task.id);
  }
  if (task.retentionMs !== null) {
    data.tasks.keepUntil(task, task.finishedAt === null ? null : now + task.retentionMs);
  }
  if (task.groupKey !== null) joinGroup(data, task, queue, task.groupKey, keeps);
}

/** Makes a waiting task leased until `deadline`; what its grant is remains to be set. Its place stays its own. */
export function takeLease(data: Data, task: Task, queue: Queue, deadline: number): void {
  queue.counts[task.state] -= 1;
  queue.counts.leased += 1;
  data.queues.touch(queue);
  task.state = 'leased';
  task.deadline = deadline;
}

/** Has the lease that ran out go on until `deadline`. The place is the one that its expiry gave, also where the task has lost it since. */
export function reviveLease(data: Data, task: Task, queue: Queue, deadline: number): void {
  takeLease(data, task, queue, deadline);
  task.place = placeFor(data, task, 'front');
}

function placeFor(data: Data, task: Task, place: Place): number {
  if (place === 'front' && task.grantNo !== null) return task.grantNo + FRONT;
  if (place === 'old' && task.place !== null) return task.place;
  return data.counters.nextPlace();
}

/** Where the end of its lease takes a task, and it is moved there. */
export function endLease(
  data: Data,
  task: Task,
  queue: Queue,
  end: LeaseEnd,
  now: number,
  facts: { exhausted: boolean; delayed: boolean },
): LeaseEndRule {
  const rule = leaseEndRule(end, {
    cancelRequested: task.cancelRequested,
    ttlPassed: task.expiresAt !== null && task.expiresAt <= now,
    ...facts,
  });
  enter(data, task, queue, rule.state, now, rule.place, keepsGroupPlace(task, queue, end, rule.state));
  return rule;
}

function keepsGroupPlace(task: Task, queue: Queue, end: LeaseEnd, state: TaskState): boolean {
  if (task.groupKey === null || end === 'ack' || (state !== 'ready' && state !== 'scheduled')) return false;
  return KEEPS_GROUP_PLACE[queue.config.groups.ordering][end][state];
}

/** Takes back a lease that ran out, and saves the task. */
export function expireLease(data: Data, task: Task, queue: Queue, now: number): void {
  const exhausted = task.attempt >= (task.maxAttempts ?? queue.config.maxAttempts);
  endLease(data, task, queue, 'expiry', now, { exhausted, delayed: false });
  queue.totals.expired += 1;
  data.tasks.setError(task, { ...LEASE_EXPIRED_ERROR, details: null, attempt: task.attempt, at: now });
  data.tasks.save(task);
}

/** Ends a waiting task whose ttl has passed, and saves it. */
export function expireTask(data: Data, task: Task, queue: Queue, now: number): void {
  enter(data, task, queue, 'expired', now);
  data.tasks.save(task);
}

/** Does to a task what time has made due, as the sweep would have, and saves it. */
export function catchUp(data: Data, task: Task, queue: Queue, now: number): void {
  const due = overdue({ state: task.state, leaseExpiresAt: task.deadline, expiresAt: task.expiresAt }, now);
  if (due === 'lease') expireLease(data, task, queue, now);
  else if (due === 'ttl') expireTask(data, task, queue, now);
}
