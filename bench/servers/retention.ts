import { setTimeout as sleep } from 'node:timers/promises';
import { MIN_RETENTION_BY_COUNT_MS } from '../../src/domain/limits.ts';
import { DEFAULT_QUEUE_CONFIG } from '../../src/domain/queue.ts';
import { QUEUE } from '../load/payload.ts';
import { ask, queueStats } from './api.ts';

/** Completed tasks that a queue keeps unless it is told otherwise. */
export const KEPT = DEFAULT_QUEUE_CONFIG.retention.completedMax;

const GIVE_UP_MS = 60_000;

async function completed(url: string): Promise<number> {
  return (await queueStats(url, QUEUE))['completed'] ?? 0;
}

async function atMost(url: string, kept: number, everyMs: number): Promise<void> {
  const end = performance.now() + GIVE_UP_MS;
  while ((await completed(url)) > kept) {
    if (performance.now() > end) throw new Error(`not pruned to ${kept} completed tasks within ${GIVE_UP_MS} ms`);
    await sleep(everyMs);
  }
}

/**
 * Resolves when the queue holds no more completed tasks than it keeps by default: what a round has finished has
 * cost all that it will. Asks seldom, so as to cost nothing itself.
 */
export async function pruned(url: string): Promise<void> {
  if ((await completed(url)) <= KEPT) return;
  // Nothing is pruned by count before that.
  await sleep(MIN_RETENTION_BY_COUNT_MS);
  await atMost(url, KEPT, 200);
}

/** Has the queue let go of tasks as soon as they are completed, as servers do that delete what is acknowledged. */
export async function keepNothing(url: string): Promise<void> {
  await ask(url, 'PUT', `/queues/${QUEUE}`, { retention: { completedMs: 0 } });
}

/** Resolves when nothing that was completed is left, in a queue that keeps nothing ({@link keepNothing}). */
export async function removed(url: string): Promise<void> {
  await atMost(url, 0, 10);
}
