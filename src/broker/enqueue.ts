import type { ProblemCode } from '../domain/problems.ts';
import type { NewTask } from '../domain/task.ts';
import { type EnqueueCall, type EnqueueOutcome, type Stamped, type Store, StoreError } from '../store/store.ts';
import type { EnqueueEntry, EnqueueReply, EnqueueResult } from './broker.ts';

/** What the broker learns from an enqueue. */
export interface EnqueueListener {
  heard: <Result>(reply: Stamped<Result>) => readonly Result[];
  ready: (queue: string, tasks: number) => void;
  /** A part of a request failed while other parts were stored. */
  failed: (error: unknown) => void;
}

/** The entries of one queue, and where each stood in the request. */
interface Part {
  call: EnqueueCall & { tasks: NewTask[] };
  indexes: number[];
}

/**
 * Stores tasks: whole per queue, and in a request for several queues nothing when any entry reuses a key.
 * @throws StoreError when nothing of the request is known to be stored
 */
export async function enqueue(
  store: Store,
  entries: readonly EnqueueEntry[],
  listener: EnqueueListener,
): Promise<EnqueueReply> {
  const [only] = entries;
  if (only !== undefined && entries.length === 1) return enqueueOne(store, only, listener);
  const parts = split(store, entries);
  if (parts.length > 1 && entries.some(({ task }) => task.idempotency !== null)) {
    const reused = reusedIndexes(parts, listener.heard(await store.checkKeys(parts.map(({ call }) => call))));
    if (reused.length > 0) return { outcome: 'keys_reused', indexes: reused };
  }
  if (parts.length === 1) {
    const outcomes = listener.heard(await store.enqueue(parts.map(({ call }) => call)));
    const reused = reusedIndexes(
      parts,
      outcomes.map((outcome) => (outcome.outcome === 'stored' ? null : outcome)),
    );
    if (reused.length > 0) return { outcome: 'keys_reused', indexes: reused };
    return { outcome: 'stored', results: collect(parts, outcomes, entries.length, listener) };
  }
  return storeParts(store, parts, entries.length, listener);
}

/** The same for a single task, without the bookkeeping of batches: most requests bring one. */
async function enqueueOne(
  store: Store,
  { queue, task }: EnqueueEntry,
  listener: EnqueueListener,
): Promise<EnqueueReply> {
  const call = { queue, tasks: [{ ...task, id: store.newTaskId(queue) }] };
  const [outcome] = listener.heard(await store.enqueue([call]));
  if (outcome?.outcome === 'idempotency_key_reused') return { outcome: 'keys_reused', indexes: [0] };
  const [stored] = outcome?.tasks ?? [];
  if (stored === undefined) throw new Error('the store answered a call of one with nothing');
  if (stored.task.state === 'ready' && !stored.replayed) listener.ready(queue, 1);
  return { outcome: 'stored', results: [{ outcome: 'stored', task: stored.task, replayed: stored.replayed }] };
}

function split(store: Store, entries: readonly EnqueueEntry[]): Part[] {
  const parts = new Map<string, Part>();
  for (const [index, { queue, task }] of entries.entries()) {
    let part = parts.get(queue);
    if (!part) {
      part = { call: { queue, tasks: [] }, indexes: [] };
      parts.set(queue, part);
    }
    part.call.tasks.push({ ...task, id: store.newTaskId(queue) });
    part.indexes.push(index);
  }
  return [...parts.values()];
}

function reusedIndexes(parts: readonly Part[], refusals: readonly ({ index: number } | null)[]): number[] {
  return refusals.flatMap((refusal, at) => {
    const index = refusal === null ? undefined : parts[at]?.indexes[refusal.index];
    return index === undefined ? [] : [index];
  });
}

/** Each queue by itself, so that one that fails leaves the others' outcome known. */
async function storeParts(
  store: Store,
  parts: readonly Part[],
  entries: number,
  listener: EnqueueListener,
): Promise<EnqueueReply> {
  const settled = await Promise.allSettled(parts.map(({ call }) => store.enqueue([call])));
  const failure = settled.find((part) => part.status === 'rejected');
  if (failure && settled.every((part) => part.status === 'rejected')) throw failure.reason;
  const outcomes = settled.map((part): EnqueueOutcome | ProblemCode => {
    if (part.status === 'rejected') {
      listener.failed(part.reason);
      return part.reason instanceof StoreError && part.reason.kind === 'full' ? 'store_full' : 'store_unavailable';
    }
    const [outcome] = listener.heard(part.value);
    if (outcome === undefined) throw new Error('the store answered a call of one with nothing');
    return outcome;
  });
  return { outcome: 'stored', results: collect(parts, outcomes, entries, listener) };
}

function collect(
  parts: readonly Part[],
  outcomes: readonly (EnqueueOutcome | ProblemCode)[],
  entries: number,
  listener: EnqueueListener,
): EnqueueResult[] {
  const results = new Array<EnqueueResult>(entries);
  for (const [at, { call, indexes }] of parts.entries()) {
    const outcome = outcomes[at];
    let ready = 0;
    for (const [place, index] of indexes.entries()) {
      const stored = typeof outcome === 'object' && outcome.outcome === 'stored' ? outcome.tasks[place] : undefined;
      if (stored) {
        results[index] = { outcome: 'stored', ...stored };
        if (stored.task.state === 'ready' && !stored.replayed) ready++;
      } else {
        const code = typeof outcome === 'string' ? outcome : 'idempotency_key_reused';
        results[index] = { outcome: 'failed', code };
      }
    }
    if (ready > 0) listener.ready(call.queue, ready);
  }
  return results;
}
