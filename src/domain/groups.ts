import type { LeaseEnd } from './transitions.ts';

export const GROUP_ORDERINGS = ['strict', 'relaxed'] as const;
export type GroupOrdering = (typeof GROUP_ORDERINGS)[number];

/** How the groups of a queue are run. */
export interface Groups {
  /** Most tasks of one group at once. */
  maxConcurrency: number;
  ordering: GroupOrdering;
}

/**
 * Whether a task of a group keeps its place in the line of its group when its lease ends and it waits again, by whether
 * it is for a time ({@link LeaseEnd} decides that). What does not goes to the back, once it waits no longer for its time.
 */
export const KEEPS_GROUP_PLACE: Record<
  GroupOrdering,
  Record<Exclude<LeaseEnd, 'ack'>, { ready: boolean; scheduled: boolean }>
> = {
  strict: {
    nack: { ready: true, scheduled: true },
    release: { ready: true, scheduled: false },
    expiry: { ready: true, scheduled: true },
  },
  relaxed: {
    nack: { ready: false, scheduled: false },
    release: { ready: true, scheduled: false },
    expiry: { ready: true, scheduled: true },
  },
};

/**
 * Whether one more task of a group may run.
 * @param leased tasks of the group that are leased
 * @param waitingInPlace tasks that wait for their time and have kept their place: under `strict` they are run as it were,
 *   so that nothing passes them
 */
export function groupHasRoom({ maxConcurrency, ordering }: Groups, leased: number, waitingInPlace: number): boolean {
  return leased + (ordering === 'strict' ? waitingInPlace : 0) < maxConcurrency;
}

/** Whether a change may let tasks run that were blocked. */
export function loosens(before: Groups, after: Groups): boolean {
  return after.maxConcurrency > before.maxConcurrency || (before.ordering === 'strict' && after.ordering === 'relaxed');
}
