import type { Grant } from '../../domain/task.ts';
import type { DisownCall, Granted, LeaseCall, RecallCall, Stamped } from '../store.ts';
import type { Data } from './data.ts';
import { dueOf, earlier } from './due.ts';
import { allowedGrants, heldQueues, isLimited, takeOpened } from './flow.ts';
import { hasGroupRoom, leaseInGroup, regroup } from './groups.ts';
import { expireTask, takeLease } from './life.ts';
import type { Queue } from './queue-table.ts';
import { type Task, type TaskDetails, toRecord } from './task-row.ts';

/** Tasks past their ttl that one call ends at most on its way to those that it can grant, or half as many in groups. */
const MAX_EXPIRED = 1000;
/** What one of a group counts for: the next of its group is found and moved as well. */
const GROUP_WEIGHT = 2;
/** How many are read at once where the line begins with tasks past their ttl. */
const EXPIRED_STEP = 100;
/** The same where each of them may bring another one of its group in, so that the line has to be read again. */
const EXPIRED_GROUP_STEP = 10;

export function lease(data: Data, calls: readonly LeaseCall[]): Granted {
  const now = data.now();
  let dueAt: number | null = null;
  const touch = (at: number | null): void => {
    dueAt = earlier(dueAt, at);
  };
  const limited = new Set<Queue>();
  const results = calls.map((call) => leaseFrom(data, call, now, touch, limited));
  const reply: Granted = { now, dueAt, results };
  if (limited.size > 0) {
    const held = heldQueues(data, limited, now);
    if (held.length > 0) reply.held = held;
  }
  if (data.opened.size > 0) reply.readied = takeOpened(data);
  return reply;
}

export function recall(data: Data, calls: readonly RecallCall[]): Stamped<readonly Grant[]> {
  const now = data.now();
  const results = calls.map(({ queue: name, requestId }) => {
    const queue = data.queues.byName(name);
    return queue === null ? [] : stillHeld(data, queue, requestId, now);
  });
  return { now, dueAt: null, results };
}

/** Always true: no other process can have found them. */
export function disown(data: Data, calls: readonly DisownCall[]): Stamped<boolean> {
  const now = data.now();
  const results = calls.map(({ queue: name, requestId, token }) => {
    const queue = data.queues.byName(name);
    if (queue !== null && stillHeld(data, queue, requestId, now).some((grant) => grant.token === token)) {
      data.tasks.forgetRequest(queue.no, requestId);
    }
    return true;
  });
  return { now, dueAt: null, results };
}

function stillHeld(data: Data, queue: Queue, requestId: string, now: number): readonly Grant[] {
  return data.tasks.ofRequest(queue.no, requestId, now).map(({ task, details }) => {
    if (task.token === null) throw new Error(`task ${task.id} is leased without a token`);
    return { task: toRecord(task, details, queue), token: task.token };
  });
}

function leaseFrom(
  data: Data,
  call: LeaseCall,
  now: number,
  touch: (at: number | null) => void,
  limited: Set<Queue>,
): readonly Grant[] {
  const queue = data.queues.byName(call.queue);
  if (queue !== null && isLimited(queue)) limited.add(queue);
  if (queue !== null && call.requestId !== null) {
    const known = stillHeld(data, queue, call.requestId, now);
    if (known.length > 0) return known;
  }
  const grants: Grant[] = [];
  if (queue === null || queue.paused || queue.counts.ready === 0) {
    data.passedOver.delete(call.queue);
    return grants;
  }
  let { max } = call;
  if (isLimited(queue)) {
    max = allowedGrants(data, queue, max, now);
    if (max === 0) return grants;
  }
  let expired = 0;
  let expiredInGroup = false;
  for (let more = true; more; ) {
    const wanted = max - grants.length;
    const some = expired === 0 ? wanted : Math.max(wanted, EXPIRED_STEP);
    const step = expiredInGroup ? Math.min(wanted, EXPIRED_GROUP_STEP) : some;
    const head = data.tasks.head(queue.no, step);
    let grouped = false;
    // The highest priority in which a task may have become ready since the head was read.
    let turn = -1;
    for (const { task, details } of head) {
      if (grants.length === max || task.priority < turn) break;
      if (task.expiresAt !== null && task.expiresAt <= now) {
        expireTask(data, task, queue, now);
        expired += task.groupKey === null ? 1 : GROUP_WEIGHT;
        if (task.groupKey !== null) {
          expiredInGroup = true;
          turn = Number.POSITIVE_INFINITY;
        }
      } else if (task.groupKey !== null && !hasGroupRoom(data, queue, task.groupKey)) {
        // The groups of the queue may run fewer than when it became ready.
        regroup(data, queue, task.groupKey, null);
        expired += GROUP_WEIGHT;
      } else {
        if (grants.length === 0 && call.requestId !== null) data.tasks.forgetRequest(queue.no, call.requestId);
        grants.push(grant(data, task, details, queue, call, now));
        if (task.groupKey !== null) turn = Math.max(turn, leaseInGroup(data, task, queue, task.groupKey) ?? turn);
      }
      touch(dueOf(task, queue));
      grouped ||= task.groupKey !== null;
    }
    // One task of a group that is gone from the line may have another one stand there.
    more = (head.length === step || grouped) && grants.length < max && expired < MAX_EXPIRED;
  }
  if (expired >= MAX_EXPIRED && grants.length < max && queue.counts.ready > 0) {
    data.passedOver.add(queue.name);
    touch(now);
  } else {
    data.passedOver.delete(queue.name);
  }
  const { rateLimit } = queue.config;
  if (rateLimit !== null && grants.length > 0) data.rates.add(queue, rateLimit, grants.length, now);
  return grants;
}

function grant(data: Data, task: Task, details: TaskDetails, queue: Queue, call: LeaseCall, now: number): Grant {
  const length = call.leaseMs ?? task.leaseMs ?? queue.config.leaseMs;
  takeLease(data, task, queue, now + length);
  task.attempt += 1;
  task.deliveries += 1;
  task.token = call.token;
  task.workerId = call.workerId;
  task.grantedAt = now;
  task.grantNo = data.counters.nextGrant();
  task.leaseLength = length;
  task.settledBy = null;
  task.outcome = null;
  data.tasks.grant(task, call.requestId);
  if (task.uniqueHeld !== null) data.uniques.release(task, 'start');
  queue.totals.leased += 1;
  return { task: toRecord(task, details, queue), token: call.token };
}
