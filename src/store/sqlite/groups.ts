import { groupHasRoom } from '../../domain/groups.ts';
import type { Data } from './data.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';

/** Whether one more task of the group may run. */
export function hasGroupRoom(data: Data, queue: Queue, key: string): boolean {
  const { groups } = queue.config;
  const most = groups.maxConcurrency;
  const waiting = groups.ordering === 'strict' ? data.groups.waitingInPlace(queue, key, most) : 0;
  return groupHasRoom(groups, data.groups.leased(queue, key, most), waiting);
}

/** Whether a new task of the group is ready: it may run, and nothing waits before it. */
export function isOpenToNew(data: Data, queue: Queue, key: string): boolean {
  const waits = data.groups.first(queue, key, 'ready') ?? data.groups.first(queue, key, 'blocked');
  return waits === null && hasGroupRoom(data, queue, key);
}

/**
 * Makes a task that has just become ready one of its group, and saves it: it stays ready if it is the group's turn.
 * Whatever else has become of it, the others of its group learn of it.
 * @param keeps whether it has its old place in the line of its group
 */
export function joinGroup(data: Data, task: Task, queue: Queue, key: string, keeps: boolean): void {
  if (task.state === 'ready') {
    queue.counts.ready -= 1;
    queue.counts.blocked += 1;
    task.state = 'blocked';
    if (!keeps || task.groupPlace === null) task.groupPlace = data.counters.nextPlace();
  } else if (task.state === 'scheduled' && !keeps) task.groupPlace = null;
  data.tasks.save(task);
  data.groups.save(task);
  regroup(data, queue, key, task);
  if (task.state === 'blocked') task.place = null;
}

/**
 * Has the first of a group stand in the line of its queue, ready, if one more of it may run, and nobody else. Whoever
 * comes to the head of its group takes a new turn at the back, unless it has a place to come back to.
 * @param self a task that its caller has yet to save
 * @returns the priority of whoever stands there now and did not before
 */
export function regroup(data: Data, queue: Queue, key: string, self: Task | null): number | null {
  const ready = data.groups.first(queue, key, 'ready');
  const blocked = data.groups.first(queue, key, 'blocked');
  const head = blocked !== null && (ready === null || blocked.groupPlace < ready.groupPlace) ? blocked : ready;
  if (head === null) return null;
  const open = hasGroupRoom(data, queue, key);
  if (open && head === ready) return null;
  if (ready !== null) move(data, queue, ready.seq, 'blocked', null, self);
  if (!open) return null;
  move(data, queue, head.seq, 'ready', head.place ?? data.counters.nextPlace(), self);
  return head.priority;
}

function move(
  data: Data,
  queue: Queue,
  seq: number,
  state: 'ready' | 'blocked',
  place: number | null,
  self: Task | null,
): void {
  queue.counts[state === 'ready' ? 'blocked' : 'ready'] -= 1;
  queue.counts[state] += 1;
  data.queues.touch(queue);
  data.groups.move(seq, state, place);
  if (self?.seq === seq) {
    self.state = state;
    self.place = place;
  } else if (state === 'ready') data.opened.add(queue);
}

/** Says in the group of a task, which is saved, that it is leased now; answers as {@link regroup} does. */
export function leaseInGroup(data: Data, task: Task, queue: Queue, key: string): number | null {
  data.groups.save(task);
  return regroup(data, queue, key, task);
}

/** Looks at up to `limit` blocked tasks of queues whose groups may run more than before; answers at how many. */
export function regroupStep(data: Data, limit: number): number {
  const planned = data.groups.planned();
  if (planned === null) return 0;
  const queue = data.queues.byNo(planned.queueNo);
  const blocked = data.groups.blockedAfter(queue, planned.after, limit);
  for (const key of new Set(blocked.map((task) => task.key))) regroup(data, queue, key, null);
  const last = blocked.at(-1);
  if (last === undefined || blocked.length < limit) data.groups.drop(queue.no);
  else data.groups.plan(queue.no, last.seq);
  return blocked.length;
}
