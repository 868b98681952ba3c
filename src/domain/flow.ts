import type { StateCounts, TaskState } from './task.ts';

/** At most `limit` grants in any `periodMs` that begin with a grant. */
export interface RateLimit {
  limit: number;
  periodMs: number;
}

/** How many tasks more may be leased beside those that are. Leases that ran out count until they are taken back. */
export function concurrencyLeft(maxConcurrency: number | null, leased: number): number {
  return maxConcurrency === null ? Number.POSITIVE_INFINITY : Math.max(0, maxConcurrency - leased);
}

/**
 * When a grant is allowed again.
 * @param before the time of the grant that came `limit` grants before it: of those after it, one less than `limit` are
 *   in the period that begins with it
 */
export function rateOpensAt({ periodMs }: RateLimit, before: number): number {
  return before + periodMs;
}

/** Why no task of a queue is granted though tasks wait; null when none waits, or when they are on their way to workers. */
export type Why = 'paused' | 'concurrency' | 'rate' | 'no workers' | { scheduledUntil: number } | null;

/** So many leases of a queue are looked at, at most, to learn what its blocked tasks wait for. */
export const LEASES_LOOKED_AT = 100;

/** Whether the numbers alone do not tell if blocked tasks wait for the end of a lease, or for a time. */
export function isBlockedByEither({ ready, blocked, leased, scheduled }: StateCounts): boolean {
  return ready === 0 && blocked > 0 && leased > 0 && scheduled > 0;
}

/** What {@link whyIdle} goes by. */
export interface Idleness {
  paused: boolean;
  counts: StateCounts;
  maxConcurrency: number | null;
  /** When the rate limit allows the next grant; null when it does now. */
  rateOpensAt: number | null;
  nextRunAt: number | null;
  /** Where {@link isBlockedByEither}: whether a blocked task is of a group of which another one is leased. */
  blockedByLease: boolean;
  /** Who waits for a task. */
  waiters: number;
}

const WAITING: readonly TaskState[] = ['scheduled', 'ready', 'blocked'];

/** The first of these that holds: whatever comes before must be seen to before what comes after can matter. */
export function whyIdle(
  { paused, counts, maxConcurrency, rateOpensAt, nextRunAt, blockedByLease, waiters }: Idleness,
  now: number,
): Why {
  if (WAITING.every((state) => counts[state] === 0)) return null;
  if (paused) return 'paused';
  if (counts.ready === 0) {
    // Blocked tasks wait for one of their group that is leased, or for one that keeps its place in front of them.
    if (isBlockedByEither(counts) ? blockedByLease : counts.blocked > 0 && counts.leased > 0) return 'concurrency';
    return nextRunAt === null || nextRunAt <= now ? null : { scheduledUntil: nextRunAt };
  }
  if (concurrencyLeft(maxConcurrency, counts.leased) === 0) return 'concurrency';
  if (rateOpensAt !== null && rateOpensAt > now) return 'rate';
  return waiters === 0 && counts.leased === 0 ? 'no workers' : null;
}
