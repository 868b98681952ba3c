import { expectedTotal, OPERATION_STEP, OPERATIONS_RUNNING, pauseAfter } from '../../domain/operation.ts';
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
  return stamped(data, asked, ({ id, queue: name, filter, max, ratePerSec }) => {
    data.operations.clear(now);
    if (data.operations.byId(id, now) !== null) return 'created';
    const queue = data.queues.byName(name);
    if (queue === null) return 'queue_not_found';
    if (data.operations.running().length >= OPERATIONS_RUNNING) return 'too_many';
    data.operations.insert({
      ...{ id, queue: name, type: filter.type, errorCode: filter.errorCode, max, ratePerSec, state: 'running' },
      diedUntil: Math.min(now, (filter.diedBefore ?? Number.MAX_SAFE_INTEGER) - 1),
      ...{ createdAt: now, finishedAt: null, nextAt: now, position: readCursor(DEATHS, null) },
      ...{ seen: 0, total: expectedTotal(queue.counts.dead, filter, max), matched: 0, moved: 0 },
    });
    return 'created';
  });
}

/** The operation as the port shows it. */
function recordOf(operation: Operation): OperationRecord {
  const { id, queue, state, createdAt, finishedAt, ratePerSec, seen, total, matched, moved } = operation;
  return { id, queue, state, createdAt, finishedAt, ratePerSec, seen, total, matched, moved };
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
  return stamped(data, steps, ({ id, limit }) => {
    const operation = data.operations.byId(id, now);
    if (operation === null) return null;
    if (operation.state === 'running' && operation.nextAt <= now) {
      advance(data, operation, Math.min(limit, OPERATION_STEP), now);
    }
    const nextAt = operation.state === 'running' ? operation.nextAt : null;
    return { operation: recordOf(operation), nextAt };
  });
}

function advance(data: Data, operation: Operation, limit: number, now: number): void {
  const queue = data.queues.byName(operation.queue);
  const found = queue === null ? [] : deadAfter(data, queue, operation.position, operation.diedUntil, OPERATION_STEP);
  const most = operation.max ?? Number.POSITIVE_INFINITY;
  let moved = 0;
  let looked = 0;
  for (const read of found) {
    if (queue === null || moved >= limit || operation.matched >= most) break;
    looked += 1;
    // Its key may have gone to one before it meanwhile.
    const task = read.uniqueHeld === null ? read : (data.tasks.byId(read.id) ?? read);
    operation.position = positionOf(task);
    if (!matches(data, task, operation)) continue;
    operation.matched += 1;
    if (redriveTask(data, task, queue, now) === null) moved += 1;
  }
  data.opened.clear();
  operation.seen += looked;
  operation.moved += moved;
  operation.total = Math.max(operation.total, operation.seen);
  operation.nextAt = now + pauseAfter(moved, operation.ratePerSec);
  if (operation.matched >= most || (looked === found.length && found.length < OPERATION_STEP)) {
    end(data, operation, 'completed', now);
  } else data.operations.save(operation);
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
