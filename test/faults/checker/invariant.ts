import type { Ledger } from './ledger.ts';

export const INVARIANTS = [
  'no loss',
  'no phantom',
  'justified repeats',
  'exclusion',
  'fencing',
  'attempts',
  'conservation',
  'time',
  'idempotency',
  'liveness',
  'readiness',
] as const;
export type InvariantName = (typeof INVARIANTS)[number];

/** Something that must not be. */
export interface Violation {
  /** The task it is about; null when it is about more than one. */
  task: string | null;
  /** When it was noticed, by the clock of the history. */
  at: number;
  says: string;
}

/** Looks through a whole history. Every fault that it names is one, whatever was not known; what is not certain is not named. */
export type Invariant = (ledger: Ledger) => Iterable<Violation>;

/** The store tells times in whole ms, cut off; so do the clients. */
export const CLOCK_GRAIN_MS = 2;
