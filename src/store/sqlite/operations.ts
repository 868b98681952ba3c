import {
  expectedTotal,
  OPERATION_STEP,
  OPERATION_STEP_BYTES,
  OPERATIONS_RUNNING,
  pauseAfter,
} from '../../domain/operation.ts';
import type {
  CreateOperationOutcome,
  DeadCount,
  DeadQuery,
  NewOperation,
  OperationRecord,
  OperationStep,
  OperationStepped,
  Stamped,
} from '../store.ts';
import { type Order, type Position, readCursor, writeCursor } from './cursor.ts';
import type { Data } from './data.ts';
import { moveTask } from './move-task.ts';
import { redriveTask } from './moves.ts';
import type { Operation } from './operation-table.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';

/** Which dead tasks are meant. */
interface Wanted {
  type: string | null;
  errorCode: string | null;
  diedUntil: number;
}

function matches(data: Data, task: Task, { type, errorCode }: Wanted): boolean {
  if (type !== null && task.type !== type) return false;
  return errorCode === null || data.tasks.errorCode(task) === errorCode;
}

/** Up to `limit` dead tasks behind a position, in the order in which they died. */
function deadAfter(data: Data, queue: Queue, { finishedAt, seq }: Position, until: number, limit: number): Task[] {
  return data.agenda.finishedBetween(queue, 'dead', finishedAt, seq, until, limit);
}

/** The order in which the dead are walked through. */
const DEATHS: Order = { by: 'finished', first: 'oldest' };

function positionOf(task: Task): Position {
  return { finishedAt: task.finishedAt ?? 0, seq: task.seq };
}

/** @throws InvalidCursor when the position is not one of a count */
export function countDead(data: Data, { queue: name, filter, position, limit }: DeadQuery): DeadCount {
  const start = readCursor(DEATHS, position);
  const queue = data.queues.byName(name);
  if (queue === null) return { matched: 0, seen: 0, next: null };
  const wanted = { ...filter, diedUntil: (filter.diedBefore ?? Number.MAX_SAFE_INTEGER) - 1 };
  const step = Math.min(limit, OPERATION_STEP);
  const found = deadAfter(data, queue, start, wanted.diedUntil, step);
  const last = found.at(-1);
  return {
    matched: found.filter((task) => matches(data, task, wanted)).length,
    seen: found.length,
    next: found.length < step || last === undefined ? null : writeCursor(DEATHS, positionOf(last)),
  };
}

function stamped<Item, Result>(data: Data, items: readonly Item[], one: (item: Item) => Result): Stamped<Result> {
  const now = data.now();
  return { now, dueAt: null, results: items.map(one) };
}

export function createOperations(data: Data, asked: readonly NewOperation[]): Stamped<CreateOperationOutcome> {
  const now = data.now();
  return stamped(data, asked, ({ id, queue: name, to, filter, max, ratePerSec }) => {
    data.operations.clear(now);
    const stored = data.operations.byId(id, now);
    if (stored !== null) return recordOf(stored);
    const queue = data.queues.byName(name);
    if (queue === null) return 'queue_not_found';
    if (data.operations.running().length >= OPERATIONS_RUNNING) return 'too_many';
    const operation: Operation = {
      ...{
        id,
        queue: name,
        to: to === name ? null : to,
        type: filter.type,
        errorCode: filter.errorCode,
        max,
        ratePerSec,
        state: 'running',
      },
      diedUntil: Math.min(now, (filter.diedBefore ?? Number.MAX_SAFE_INTEGER) - 1),
      ...{ createdAt: now, finishedAt: null, nextAt: now, position: readCursor(DEATHS, null) },
      ...{ seen: 0, total: expectedTotal(queue.counts.dead, filter, max), matched: 0, moved: 0 },
    };
    data.operations.insert(operation);
    return recordOf(operation);
  });
}

/** The operation as the port shows it. */
function recordOf(operation: Operation): OperationRecord {
  const { id, queue, to, state, createdAt, finishedAt, ratePerSec, seen, total, matched, moved } = operation;
  return { id, queue, to, state, createdAt, finishedAt, ratePerSec, seen, total, matched, moved };
}

export function operations(data: Data, ids: readonly string[]): Stamped<OperationRecord | null> {
  const now = data.now();
  return stamped(data, ids, (id) => {
    const found = data.operations.byId(id, now);
    return found && recordOf(found);
  });
}

export function runningOperations(data: Data): OperationRecord[] {
  return data.operations.running().map(recordOf);
}

export function stepOperations(data: Data, steps: readonly OperationStep[]): Stamped<OperationStepped | null> {
  const now = data.now();
  return stamped(data, steps, (step) => {
    const operation = data.operations.byId(step.id, now);
    if (operation === null) return null;
    const due = operation.state === 'running' && operation.nextAt <= now;
    const full = due && advance(data, operation, step, now);
    const nextAt = operation.state === 'running' ? operation.nextAt : null;
    return { operation: recordOf(operation), nextAt, full };
  });
}

/** Answers whether the queue they go to had no room for the next. */
function advance(data: Data, operation: Operation, { limit, ids }: OperationStep, now: number): boolean {
  const queue = data.queues.byName(operation.queue);
  const found = queue === null ? [] : deadAfter(data, queue, operation.position, operation.diedUntil, OPERATION_STEP);
  const most = Math.min(limit, OPERATION_STEP);
  const { moved, looked, full } =
    operation.to === null
      ? redriveFound(data, operation, queue, found, most, now)
      : moveFound(data, operation, queue, found, ids.slice(0, most));
  data.opened.clear();
  operation.seen += looked;
  operation.moved += moved;
  operation.total = Math.max(operation.total, operation.seen);
  operation.nextAt = now + pauseAfter(moved, operation.ratePerSec, full);
  if (!mayMatch(operation) || (looked === found.length && found.length < OPERATION_STEP)) {
    end(data, operation, 'completed', now);
  } else data.operations.save(operation);
  return full;
}

/** How far a step came among the tasks that it found. */
interface Walked {
  looked: number;
  moved: number;
  full: boolean;
}

/** Whether it may deal with one more. */
function mayMatch({ matched, max }: Operation): boolean {
  return max === null || matched < max;
}

/** The task as it is now: one before it may have taken its key. */
function readAgain(data: Data, read: Task): Task {
  return read.uniqueHeld === null ? read : (data.tasks.byId(read.id) ?? read);
}

function redriveFound(
  data: Data,
  operation: Operation,
  queue: Queue | null,
  found: readonly Task[],
  limit: number,
  now: number,
): Walked {
  let moved = 0;
  let looked = 0;
  for (const read of found) {
    if (queue === null || moved >= limit || !mayMatch(operation)) break;
    looked += 1;
    const task = readAgain(data, read);
    operation.position = positionOf(task);
    if (!matches(data, task, operation)) continue;
    operation.matched += 1;
    if (redriveTask(data, task, queue, now) === null) moved += 1;
  }
  return { looked, moved, full: false };
}

/** @param ids of what comes into the other queue: as many tasks are dealt with */
function moveFound(
  data: Data,
  operation: Operation,
  queue: Queue | null,
  found: readonly Task[],
  ids: readonly string[],
): Walked {
  const { to } = operation;
  let moved = 0;
  let looked = 0;
  let dealt = 0;
  let bytes = 0;
  // Behind the last one that was dealt with: where the next step goes on when this one meets a queue that is full.
  let behind = { position: operation.position, looked };
  for (const task of found) {
    const id = ids[dealt];
    if (queue === null || to === null || id === undefined || !mayMatch(operation)) break;
    if (matches(data, task, operation)) {
      bytes += data.tasks.size(task);
      if (dealt > 0 && bytes > OPERATION_STEP_BYTES) break;
      const outcome = moveTask(data, task, queue, to, id);
      if (outcome === 'queue_full') {
        operation.position = behind.position;
        return { looked: behind.looked, moved, full: true };
      }
      if (outcome !== 'no_body') {
        operation.matched += 1;
        dealt += 1;
      }
      if (outcome === 'moved') moved += 1;
      behind = { position: positionOf(task), looked: looked + 1 };
    }
    looked += 1;
    operation.position = positionOf(task);
  }
  return { looked, moved, full: false };
}

function end(data: Data, operation: Operation, state: 'completed' | 'cancelled', now: number): void {
  operation.state = state;
  operation.finishedAt = now;
  if (state === 'completed') operation.total = operation.seen;
  data.operations.save(operation);
  data.operations.clear(now);
}

export function cancelOperations(data: Data, ids: readonly string[]): Stamped<OperationRecord | null> {
  const now = data.now();
  return stamped(data, ids, (id) => {
    const operation = data.operations.byId(id, now);
    if (operation === null) return null;
    if (operation.state === 'running') end(data, operation, 'cancelled', now);
    return recordOf(operation);
  });
}

export function forgetOperations(data: Data, ids: readonly string[]): Stamped<boolean> {
  return stamped(data, ids, (id) => data.operations.delete(id));
}
