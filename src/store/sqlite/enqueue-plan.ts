import { onUniqueHeld, type Unique } from '../../domain/unique.ts';
import type { TaskState } from '../../domain/task.ts';
import type { EnqueueCall, EnqueueRefusal } from '../store.ts';
import type { Data } from './data.ts';

/**
 * What is to be done with an entry: store it, in the place of the holder of its key where it says so, or answer a task
 * that is there under its id, its idempotency key or its unique key.
 */
export type Plan = { do: 'store' | 'replace' | 'replay' } | { do: 'same id' | 'return'; id: string };

const STORE: Plan = { do: 'store' };
const REPLACE: Plan = { do: 'replace' };
const REPLAY: Plan = { do: 'replay' };

/** What earlier entries of a call change for later ones. */
interface Before {
  /** Fingerprints by the idempotency keys they use. */
  fingerprints: Map<string, string>;
  /** Tasks by the unique keys they take. */
  holders: Map<string, { id: string; state: TaskState }>;
}

/**
 * Plans a call before any of it is stored, so that a refusal leaves nothing behind. Answers no plans where every entry
 * is simply to be stored.
 */
export function plan(data: Data, call: EnqueueCall, now: number): EnqueueRefusal | readonly Plan[] {
  const plans: Plan[] = [];
  if (call.tasks.every(({ idempotency, unique }) => idempotency === null && unique === null)) return plans;
  const before: Before = { fingerprints: new Map(), holders: new Map() };
  for (const [index, { id, idempotency, unique }] of call.tasks.entries()) {
    let next = STORE;
    if ((idempotency !== null || unique !== null) && data.tasks.has(id)) next = { do: 'same id', id };
    else if (idempotency !== null) {
      const { key, fingerprint } = idempotency;
      const first = before.fingerprints.get(key) ?? storedFingerprint(data, call, key, now);
      if (first !== null && first !== fingerprint) return { outcome: 'idempotency_key_reused', index };
      if (first !== null) next = REPLAY;
    }
    if (next === STORE && unique !== null) {
      const judged = judge(data, call, unique, id, before, now);
      if (judged === null) return { outcome: 'unique_conflict', index };
      next = judged;
    }
    if (next === STORE || next === REPLACE) {
      if (idempotency !== null) before.fingerprints.set(idempotency.key, idempotency.fingerprint);
      if (unique !== null) before.holders.set(unique.key, { id, state: 'ready' });
    }
    plans.push(next);
  }
  return plans;
}

function storedFingerprint(data: Data, call: EnqueueCall, key: string, now: number): string | null {
  const queue = data.queues.byName(call.queue);
  return queue && (data.keys.find(queue, key, now)?.fingerprint ?? null);
}

/** What becomes of an entry with a unique key; null: it is refused. */
function judge(data: Data, call: EnqueueCall, asked: Unique, id: string, before: Before, now: number): Plan | null {
  const held = before.holders.get(asked.key) ?? storedHolder(data, call, asked.key, now);
  if (held === null) return STORE;
  if (held.id === id) return { do: 'same id', id };
  switch (onUniqueHeld(asked.onConflict, held.state)) {
    case 'return':
      return { do: 'return', id: held.id };
    case 'reject':
      return null;
    case 'replace':
      return REPLACE;
  }
}

function storedHolder(
  data: Data,
  call: EnqueueCall,
  key: string,
  now: number,
): { id: string; state: TaskState } | null {
  const queue = data.queues.byName(call.queue);
  const holder = queue && data.uniques.holder(queue, key, now);
  return holder === null || holder.free ? null : { id: holder.task.id, state: holder.state };
}
