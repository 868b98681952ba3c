import { backoffMs } from '../../domain/backoff.ts';
import type { ProblemCode } from '../../domain/problems.ts';
import { type EndingVerb, SETTLE_TABLE, type SettleCase, settleCase } from '../../domain/transitions.ts';
import type { FirstOutcome, SettleItem, SettleOutcome, Stamped } from '../store.ts';
import type { Data } from './data.ts';
import { dueOf, earlier } from './due.ts';
import { hasOpened, hasRoom } from './flow.ts';
import { hasGroupRoom, leaseInGroup } from './groups.ts';
import { catchUp, endLease, enter, reviveLease } from './life.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';

type Nack = Extract<SettleItem, { verb: 'nack' }>;
type Release = Extract<SettleItem, { verb: 'release' }>;
type Heartbeat = Extract<SettleItem, { verb: 'heartbeat' }>;

const refused = (code: ProblemCode): SettleOutcome => ({ outcome: 'refused', code });

export function settle(data: Data, items: readonly SettleItem[]): Stamped<SettleOutcome> {
  const now = data.now();
  let dueAt: number | null = null;
  const results = items.map((item): SettleOutcome => {
    const task = data.tasks.byId(item.id);
    if (task === null) return refused('task_not_found');
    const queue = data.queues.byNo(task.queueNo);
    const wasLeased = task.state === 'leased';
    catchUp(data, task, queue, now);
    const outcome = settleOne(data, task, queue, item, now);
    dueAt = earlier(dueAt, dueOf(task, queue));
    const ended = wasLeased && task.state !== 'leased';
    const readied = ended && outcome.outcome === 'refused' && task.state === 'ready';
    return hasOpened(data, queue, ended) || readied ? { ...outcome, readied: queue.name } : outcome;
  });
  return { now, dueAt, results };
}

function settleOne(data: Data, task: Task, queue: Queue, item: SettleItem, now: number): SettleOutcome {
  const met = settleCase(task, item.token, item.verb);
  const verdict = SETTLE_TABLE[met][item.verb];
  switch (verdict) {
    case 'accept':
    case 'late':
      return item.verb === 'heartbeat'
        ? heartbeat(data, task, queue, item, now, verdict === 'late')
        : end(data, task, queue, item, now, met, verdict === 'late');
    case 'replay':
      return task.outcome === null ? refused('already_settled') : settled(task, queue, task.outcome, true);
    default:
      return refused(verdict);
  }
}

function end(
  data: Data,
  task: Task,
  queue: Queue,
  item: Exclude<SettleItem, Heartbeat>,
  now: number,
  met: SettleCase,
  late: boolean,
): SettleOutcome {
  switch (item.verb) {
    case 'ack':
      if (late) enter(data, task, queue, 'completed', now);
      else endLease(data, task, queue, 'ack', now, { exhausted: false, delayed: false });
      if (item.result !== null) data.tasks.setResult(task, item.result);
      queue.totals.acked += 1;
      break;
    case 'nack':
      nack(data, task, queue, item, now, met);
      queue.totals.nacked += 1;
      break;
    case 'release':
      release(data, task, queue, item, now);
      queue.totals.released += 1;
      break;
  }
  data.queues.touch(queue);
  const outcome = firstOutcome(task, item.verb, late);
  task.settledBy = item.verb;
  task.outcome = outcome;
  if (item.verb === 'ack') data.tasks.complete(task, late);
  else data.tasks.save(task);
  return settled(task, queue, outcome, false);
}

function nack(data: Data, task: Task, queue: Queue, item: Nack, now: number, met: SettleCase): void {
  const { code = null, message = null, details = null } = item.error ?? {};
  data.tasks.setError(task, { code, message, details, attempt: task.attempt, at: now });
  if (met === 'held') {
    const wait = item.delayMs ?? backoffMs(data.tasks.backoff(task) ?? queue.config.backoff, task.attempt, item.random);
    const exhausted = !item.retryable || task.attempt >= (task.maxAttempts ?? queue.config.maxAttempts);
    const { state } = endLease(data, task, queue, 'nack', now, { exhausted, delayed: wait > 0 });
    if (state === 'scheduled') task.runAt = now + wait;
    else if (state === 'ready') task.runAt = now;
  } else if (met === 'late' && !item.retryable) {
    // The expiry has decided where the task goes already; only that another run is of no use is news.
    enter(data, task, queue, 'dead', now);
  }
}

function release(data: Data, task: Task, queue: Queue, item: Release, now: number): void {
  const wait = item.delayMs ?? 0;
  task.attempt -= 1;
  const { state } = endLease(data, task, queue, 'release', now, { exhausted: false, delayed: wait > 0 });
  if (state === 'scheduled') task.runAt = now + wait;
}

function heartbeat(data: Data, task: Task, queue: Queue, item: Heartbeat, now: number, late: boolean): SettleOutcome {
  const cap = (task.grantedAt ?? now) + item.maxRuntimeMs;
  if (late && (cap <= now || !mayRevive(data, task, queue))) return refused('lease_lost');
  const deadline = Math.min(now + (item.leaseMs ?? task.leaseLength ?? queue.config.leaseMs), cap);
  if (late) {
    reviveLease(data, task, queue, deadline);
    data.tasks.save(task);
    if (task.groupKey !== null) leaseInGroup(data, task, queue, task.groupKey);
  } else {
    task.deadline = deadline;
    data.tasks.extend(task);
  }
  if (item.progress !== null) data.tasks.setProgress(task, item.progress);
  if (item.checkpoint !== null) data.tasks.setCheckpoint(task, item.checkpoint);
  return {
    outcome: 'settled',
    queue: queue.name,
    state: task.state,
    attempt: task.attempt,
    late,
    replayed: false,
    runAt: task.runAt,
    leaseExpiresAt: deadline,
    cancelRequested: task.cancelRequested,
  };
}

/** Whether the limits of the queue, and of the task's group, leave room for a lease that has run out. */
function mayRevive(data: Data, task: Task, queue: Queue): boolean {
  return hasRoom(queue) && (task.groupKey === null || hasGroupRoom(data, queue, task.groupKey));
}

function firstOutcome(task: Task, verb: EndingVerb, late: boolean): FirstOutcome {
  return { verb, state: task.state, attempt: task.attempt, runAt: task.runAt, late };
}

function settled(task: Task, queue: Queue, outcome: FirstOutcome, replayed: boolean): SettleOutcome {
  const { state, attempt, runAt, late } = outcome;
  return {
    outcome: 'settled',
    queue: queue.name,
    state,
    attempt,
    late,
    replayed,
    runAt,
    leaseExpiresAt: null,
    cancelRequested: task.cancelRequested,
  };
}
