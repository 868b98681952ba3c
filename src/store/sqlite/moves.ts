import type { ProblemCode } from '../../domain/problems.ts';
import { isTerminal } from '../../domain/task.ts';
import { CANCELLED_ERROR_CODE, MOVES } from '../../domain/transitions.ts';
import { uniqueElapsed } from '../../domain/unique.ts';
import type { CancelItem, CancelOutcome, RedriveOutcome, RemoveOutcome, Stamped } from '../store.ts';
import type { Data } from './data.ts';
import { dueOf, earlier } from './due.ts';
import { hasOpened } from './flow.ts';
import { catchUp, enter } from './life.ts';
import type { Queue } from './queue-table.ts';
import { discard } from './retention.ts';
import type { Task } from './task-row.ts';

type Refusal = { outcome: 'refused'; code: ProblemCode };
const NOT_FOUND: Refusal = { outcome: 'refused', code: 'task_not_found' };

/** Runs a verb that needs no token on each task that there is. */
function onEach<Item, Outcome>(
  data: Data,
  items: readonly Item[],
  idOf: (item: Item) => string,
  verb: (task: Task, queue: Queue, item: Item, now: number) => Outcome,
): Stamped<Outcome | Refusal> {
  const now = data.now();
  let dueAt: number | null = null;
  const results = items.map((item) => {
    const task = data.tasks.byId(idOf(item));
    if (task === null) return NOT_FOUND;
    const queue = data.queues.byNo(task.queueNo);
    const outcome = verb(task, queue, item, now);
    dueAt = earlier(dueAt, dueOf(task, queue));
    return outcome;
  });
  return { now, dueAt, results };
}

export function cancel(data: Data, items: readonly CancelItem[]): Stamped<CancelOutcome> {
  return onEach<CancelItem, CancelOutcome>(
    data,
    items,
    ({ id }) => id,
    (task, queue, item, now) => {
      const wasLeased = task.state === 'leased';
      const outcome = cancelOne(data, task, queue, item, now);
      return hasOpened(data, queue, wasLeased && task.state !== 'leased')
        ? { ...outcome, readied: queue.name }
        : outcome;
    },
  );
}

function cancelOne(data: Data, task: Task, queue: Queue, { reason, force }: CancelItem, now: number): CancelOutcome {
  catchUp(data, task, queue, now);
  const move = MOVES[force ? 'forceCancel' : 'cancel'][task.state];
  if ('refused' in move) return { outcome: 'refused', code: move.refused };
  const requested = 'stays' in move && move.stays === 'requested';
  if (requested || 'to' in move) {
    if ('to' in move) enter(data, task, queue, move.to, now);
    else task.cancelRequested = true;
    if (reason !== null) {
      const { attempt } = task;
      data.tasks.setError(task, { code: CANCELLED_ERROR_CODE, message: reason, details: null, attempt, at: now });
    }
    data.tasks.save(task);
  }
  return { outcome: requested ? 'requested' : 'cancelled', task: data.tasks.record(task.seq, queue) };
}

export function redrive(data: Data, ids: readonly string[]): Stamped<RedriveOutcome> {
  return onEach<string, RedriveOutcome>(
    data,
    ids,
    (id) => id,
    (task, queue, _id, now) => {
      const refused = redriveTask(data, task, queue, now);
      if (refused !== null) return { outcome: 'refused', code: refused };
      // Whoever redrives looks at the queue anyway.
      data.opened.clear();
      return { outcome: 'redriven', task: data.tasks.record(task.seq, queue) };
    },
  );
}

/** Sends a task that has ended back to the end of its line; why not, when it stays as it is. */
export function redriveTask(data: Data, task: Task, queue: Queue, now: number): ProblemCode | null {
  const move = MOVES.redrive[task.state];
  if ('refused' in move) return move.refused;
  if ('to' in move) {
    if (!takeKeyBack(data, task, queue, now)) return 'unique_conflict';
    enter(data, task, queue, move.to, now);
    task.attempt = 0;
    task.expiresAt = null;
    task.token = null;
    task.settledBy = null;
    task.outcome = null;
    task.cancelRequested = false;
    task.runAt = now;
    data.tasks.save(task);
  }
  return null;
}

/** Lets a task that is redriven hold its unique key as when it was stored; false, and nothing done, if another has it. */
function takeKeyBack(data: Data, task: Task, queue: Queue, now: number): boolean {
  const unique = data.uniques.of(task);
  if (unique === null || task.uniqueHeld !== null) return true;
  const holder = data.uniques.holder(queue, unique.key, now);
  if (holder !== null && !holder.free) return false;
  if (holder !== null) {
    if (isTerminal(holder.state)) catchUp(data, holder.task, queue, now);
    if (holder.task.uniqueHeld !== null) data.uniques.letGo(holder.task);
  }
  if (!uniqueElapsed(unique, task.createdAt, now)) data.uniques.hold(task, unique.key);
  return true;
}

export function remove(data: Data, ids: readonly string[]): Stamped<RemoveOutcome> {
  const removed = onEach<string, RemoveOutcome>(
    data,
    ids,
    (id) => id,
    (task, queue) => {
      const move = MOVES.remove[task.state];
      if ('refused' in move) return { outcome: 'refused', code: move.refused };
      discard(data, task, queue);
      return { outcome: 'removed' };
    },
  );
  return { ...removed, dueAt: null };
}
