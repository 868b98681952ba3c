import type { TaskState } from './task.ts';
import { MOVES } from './transitions.ts';

/** Until when a task holds its unique key: until it ends, until its first grant, or for a time after its creation. */
export const UNIQUE_UNTIL = ['finished', 'started', 'ttl'] as const;
export type UniqueUntil = (typeof UNIQUE_UNTIL)[number];

/** What a new task wants to happen when another one of its queue holds its key. */
export const ON_UNIQUE_CONFLICT = ['return', 'reject', 'replace'] as const;
export type OnUniqueConflict = (typeof ON_UNIQUE_CONFLICT)[number];

/** At most one task of a queue holds a key at a time. */
export interface Unique {
  key: string;
  until: UniqueUntil;
  /** Only with `ttl`: counted from the task's creation. */
  ttlMs: number | null;
  onConflict: OnUniqueConflict;
}

/**
 * Whether the holder's key is let go in the same step in which it is granted first, or ends in whatever way. Deleting
 * the holder lets go of any key, and so does the time of a `ttl`.
 */
export const UNIQUE_RELEASE: Record<UniqueUntil, { start: boolean; end: boolean }> = {
  finished: { start: false, end: true },
  started: { start: true, end: true },
  ttl: { start: false, end: false },
};

/** Whether a key held for a time is free by now. The other kinds know no time. */
export function uniqueElapsed(
  { until, ttlMs }: Pick<Unique, 'until' | 'ttlMs'>,
  createdAt: number,
  now: number,
): boolean {
  return until === 'ttl' && createdAt + (ttlMs ?? 0) <= now;
}

/**
 * What happens to a new task whose key another one holds.
 * @param holder the state that time has brought the holder to: it is replaced where a cancel would take effect at
 *   once, so neither under a worker's hands nor after it has ended otherwise
 */
export function onUniqueHeld(asked: OnUniqueConflict, holder: TaskState): OnUniqueConflict {
  if (asked !== 'replace') return asked;
  const move = MOVES.cancel[holder];
  return 'to' in move || ('stays' in move && move.stays === 'unchanged') ? 'replace' : 'return';
}

/** What a replaced task's `lastError` says, before the id of the one that took its place. */
export const REPLACED_BY = 'Replaced by task ';
