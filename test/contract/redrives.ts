import assert from 'node:assert/strict';
import type { DeadFilter } from '../../src/domain/operation.ts';
import type { NewTask } from '../../src/domain/task.ts';
import type { NewOperation, OperationRecord, OperationStepped } from '../../src/store/store.ts';
import { only, type Workbench } from './workbench.ts';

/** Short words for redrives of many. */
export const ANY: DeadFilter = { type: null, errorCode: null, diedBefore: null };
export function redriveOf(bench: Workbench, part: Partial<Omit<NewOperation, 'id'>> = {}): NewOperation {
  const { queue = 'q', ...rest } = part;
  return { id: bench.store.newTaskId(queue), queue, to: null, filter: ANY, max: null, ratePerSec: null, ...rest };
}

/** Begins a redrive; its id. */
export async function begin(bench: Workbench, part: Partial<Omit<NewOperation, 'id'>> = {}): Promise<string> {
  const operation = redriveOf(bench, part);
  const created = only((await bench.store.createOperations([operation])).results);
  assert.deepEqual([created], (await bench.store.operations([operation.id])).results);
  return operation.id;
}

export async function step(bench: Workbench, id: string, limit = 128): Promise<OperationStepped> {
  const to = only((await bench.store.operations([id])).results)?.to ?? null;
  const ids = to === null ? [] : Array.from({ length: limit }, () => bench.store.newTaskId(to));
  const stepped = only((await bench.store.stepOperations([{ id, limit, ids }])).results);
  assert.ok(stepped);
  return stepped;
}

/** Steps until the operation has ended. */
export async function finish(bench: Workbench, id: string): Promise<OperationRecord> {
  for (let steps = 0; steps < 100; steps++) {
    const { operation, nextAt } = await step(bench, id);
    if (nextAt === null) return operation;
  }
  throw new Error('no end after a hundred steps');
}

/** A task that died, of these parts; time passes. */
export async function die(bench: Workbench, parts: Partial<NewTask> = {}, code: string | null = null): Promise<string> {
  const [id] = await dieTogether(bench, [parts], code);
  await bench.advance(1);
  return id ?? '';
}

export async function dieTogether(
  bench: Workbench,
  parts: readonly Partial<NewTask>[],
  code: string | null = null,
): Promise<string[]> {
  const ids: string[] = [];
  for (let from = 0; from < parts.length; from += 100) {
    await bench.putAll(parts.slice(from, from + 100));
    for (const { task, token } of await bench.lease({ max: 100 })) {
      const error = code === null ? null : { code, message: null, details: null };
      await bench.nack({ id: task.id, token }, { retryable: false, error });
      ids.push(task.id);
    }
  }
  return ids;
}

export const like = (count: number, parts: Partial<NewTask> = {}): Partial<NewTask>[] =>
  Array.from({ length: count }, () => parts);
