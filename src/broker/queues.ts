import { DROPPED_STATES, QUEUE_KEEPING_STATES, type TaskState } from '../domain/task.ts';
import type { Store } from '../store/store.ts';
import type { Pace } from './pace.ts';

/** Tasks deleted in one store call. */
const STEP = 64;
/** How often a forced deletion starts over because tasks keep coming in. */
const MAX_ROUNDS = 10;

/**
 * Deletes what is in the given states now, in bounded steps; what comes in meanwhile may stay. Each step is whole: where the process ends
 * in between, a purge that is asked for again deletes the rest.
 */
export async function purgeQueue(
  store: Store,
  pace: Pace,
  name: string,
  states: readonly TaskState[],
): Promise<Partial<Record<TaskState, number>> | null> {
  const { queue } = await store.queue(name);
  if (queue === null) return null;
  const purged: Partial<Record<TaskState, number>> = {};
  // What is behind another task of its group first: it would become ready when that one is gone.
  const inOrder = states.toSorted((a, b) => Number(b === 'blocked') - Number(a === 'blocked'));
  for (const state of inOrder) purged[state] = await purgeState(store, pace, name, state, queue.counts[state]);
  return purged;
}

async function purgeState(store: Store, pace: Pace, name: string, state: TaskState, atMost: number): Promise<number> {
  let purged = 0;
  while (purged < atMost) {
    const limit = Math.min(STEP, atMost - purged);
    const step = await pace.step(() => store.purge(name, state, limit));
    if (step.purged === 0) break;
    purged += step.purged;
  }
  return purged;
}

/**
 * Deletes a queue; with `force` whatever it holds, otherwise only when nothing in it waits, is leased or is dead. It is refused before
 * anything is deleted, or not at all: work that comes in later keeps the queue, with its settings, and what was there goes all the same.
 */
export async function deleteQueue(
  store: Store,
  pace: Pace,
  name: string,
  force: boolean,
): Promise<'deleted' | 'not_empty' | 'not_found'> {
  let begun = false;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (force && (await purgeQueue(store, pace, name, QUEUE_KEEPING_STATES)) !== null) begun = true;
    let outcome = await pace.step(() => store.dropQueue(name));
    while (outcome === 'more') {
      begun = true;
      outcome = await pace.step(() => store.dropQueue(name));
    }
    if (!begun || outcome === 'deleted') return outcome;
    // Somebody else deleted it meanwhile.
    if (outcome === 'not_found') return 'deleted';
    if (!force) break;
  }
  await purgeQueue(store, pace, name, DROPPED_STATES);
  return 'deleted';
}
