import { onUniqueHeld, type Unique } from '../../domain/unique.ts';
import { BACKLOG_STATES, exceedsBacklog } from '../../domain/queue.ts';
import { isTerminal, type TaskState } from '../../domain/task.ts';
import type { EnqueueCall, EnqueueRefusal } from '../store.ts';
import type { Data } from './data.ts';
import type { Queue } from './queue-table.ts';

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
  ids: Set<string>;
  /** Fingerprints by the idempotency keys they use. */
  fingerprints: Map<string, string>;
  /** Tasks by the unique keys they take. */
  holders: Map<string, Held>;
}

/** Who has a unique key. */
interface Held {
  id: string;
  state: TaskState;
  /** Whether the key is free all the same. */
  free: boolean;
  /** Whether a task that takes the key ends this one. */
  ends: boolean;
}

/** The entries of a call that are refused for the reason for which the first one is. */
class Refusals {
  first: (EnqueueRefusal & { indexes: number[] }) | null = null;

  add(outcome: EnqueueRefusal['outcome'], index: number): void {
    this.first ??= { outcome, indexes: [] };
    if (this.first.outcome === outcome) this.first.indexes.push(index);
  }
}

/**
 * Plans a call before any of it is stored, so that a refusal leaves nothing behind. Answers no plans where every entry
 * is simply to be stored.
 */
export function plan(data: Data, call: EnqueueCall, now: number): EnqueueRefusal | readonly Plan[] {
  const plans: Plan[] = [];
  const queue = data.queues.byName(call.queue);
  const maxBacklog = queue?.config.maxBacklog ?? null;
  const bare = call.tasks.every(({ idempotency, unique }) => idempotency === null && unique === null);
  if (bare && maxBacklog === null) return plans;
  let backlog = queue === null ? 0 : backlogOf(queue);
  const refused = new Refusals();
  const before: Before = { ids: new Set(), fingerprints: new Map(), holders: new Map() };
  for (const [index, { id, idempotency, unique }] of call.tasks.entries()) {
    let next = STORE;
    let adds = 1;
    if (before.ids.has(id) || data.tasks.has(id)) next = { do: 'same id', id };
    else if (idempotency !== null) {
      const { key, fingerprint } = idempotency;
      const first = before.fingerprints.get(key) ?? storedFingerprint(data, queue, key, now);
      if (first !== null && first !== fingerprint) {
        refused.add('idempotency_key_reused', index);
        continue;
      }
      if (first !== null) next = REPLAY;
    }
    if (next === STORE && unique !== null) {
      const held = before.holders.get(unique.key) ?? storedHolder(data, queue, unique.key, now);
      const judged = held === null || held.free ? STORE : judge(unique, id, held);
      if (judged === null) {
        refused.add('unique_conflict', index);
        continue;
      }
      next = judged;
      if (held?.ends) adds = 0;
    }
    if (next === STORE || next === REPLACE) {
      if (exceedsBacklog(maxBacklog, backlog, adds)) {
        refused.add('queue_full', index);
        if (refused.first?.outcome === 'queue_full') break;
        continue;
      }
      backlog += adds;
      before.ids.add(id);
      if (idempotency !== null) before.fingerprints.set(idempotency.key, idempotency.fingerprint);
      if (unique !== null) before.holders.set(unique.key, { id, state: 'ready', free: false, ends: true });
    }
    plans.push(next);
  }
  return refused.first ?? plans;
}

function backlogOf({ counts }: Queue): number {
  return BACKLOG_STATES.reduce((sum, state) => sum + counts[state], 0);
}

function storedFingerprint(data: Data, queue: Queue | null, key: string, now: number): string | null {
  return queue && (data.keys.find(queue, key, now)?.fingerprint ?? null);
}

/** What becomes of an entry whose unique key is held; null: it is refused. */
function judge(asked: Unique, id: string, held: Held): Plan | null {
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

function storedHolder(data: Data, queue: Queue | null, key: string, now: number): Held | null {
  const holder = queue && data.uniques.holder(queue, key, now);
  if (holder === null) return null;
  const { task, state, free } = holder;
  return { id: task.id, state, free, ends: task.finishedAt === null && (!free || isTerminal(state)) };
}
