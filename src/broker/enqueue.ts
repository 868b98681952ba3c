import type { ProblemCode } from '../domain/problems.ts';
import type { NewTask } from '../domain/task.ts';
import {
  type EnqueueCall,
  type EnqueuedTask,
  type EnqueueOutcome,
  type EnqueueRefusal,
  type Stamped,
  type Store,
  StoreError,
} from '../store/store.ts';
import type { EnqueueEntry, EnqueueReply, EnqueueResult } from './broker.ts';

/** What the broker learns from an enqueue. */
export interface EnqueueListener {
  heard: <Result>(reply: Stamped<Result>) => readonly Result[];
  ready: (queue: string, tasks: number) => void;
  /** Tasks of a queue have ended, so that a unique key came free. */
  ended: (queue: string, ids: readonly string[]) => void;
  /** A part of a request failed while other parts were stored. */
  failed: (error: unknown) => void;
}

/** The entries of one queue, and where each stood in the request. */
interface Part {
  call: EnqueueCall & { tasks: NewTask[] };
  indexes: number[];
}

/**
 * Stores tasks: whole per queue, and in a request for several queues nothing when any entry is refused.
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
  if (parts.length > 1) {
    const refusal = refused(parts, listener.heard(await store.tryEnqueue(parts.map(({ call }) => call))));
    if (refusal !== null) return refusal;
  }
  if (parts.length === 1) {
    const outcomes = listener.heard(await store.enqueue(parts.map(({ call }) => call)));
    const refusal = refused(
      parts,
      outcomes.map((outcome) => (outcome.outcome === 'stored' ? null : outcome)),
    );
    return refusal ?? { outcome: 'stored', results: collect(parts, outcomes, entries.length, listener) };
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
  if (outcome !== undefined && outcome.outcome !== 'stored') {
    return { outcome: 'refused', code: outcome.outcome, indexes: outcome.indexes };
  }
  const [stored] = outcome?.tasks ?? [];
  if (stored === undefined) throw new Error('the store answered a call of one with nothing');
  if (isNewlyReady(stored)) listener.ready(queue, 1);
  if (outcome?.ended) listener.ended(queue, outcome.ended);
  return { outcome: 'stored', results: [{ outcome: 'stored', ...stored }] };
}

/** Whether there is one more task to be leased because of it. */
function isNewlyReady({ task, replayed, deduplicated }: EnqueuedTask): boolean {
  return task.state === 'ready' && !replayed && !deduplicated;
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

/** The refusal of the whole request: the first kind that any part met, with all entries that met it. */
function refused(parts: readonly Part[], refusals: readonly (EnqueueRefusal | null)[]): EnqueueReply | null {
  const code = refusals.find((refusal) => refusal !== null)?.outcome;
  if (code === undefined) return null;
  const indexes = refusals.flatMap((refusal, at) => {
    const places = refusal?.outcome === code ? refusal.indexes : [];
    return places.flatMap((place) => parts[at]?.indexes[place] ?? []);
  });
  return { outcome: 'refused', code, indexes };
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
        if (isNewlyReady(stored)) ready++;
      } else {
        results[index] = { outcome: 'failed', code: failureOf(outcome) };
      }
    }
    if (ready > 0) listener.ready(call.queue, ready);
    if (typeof outcome === 'object' && outcome.outcome === 'stored' && outcome.ended) {
      listener.ended(call.queue, outcome.ended);
    }
  }
  return results;
}

function failureOf(outcome: EnqueueOutcome | ProblemCode | undefined): ProblemCode {
  if (typeof outcome === 'string') return outcome;
  return outcome === undefined || outcome.outcome === 'stored' ? 'internal_error' : outcome.outcome;
}
