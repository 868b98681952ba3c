import type { Finding } from '../../src/store/census.ts';
import type { Store } from '../../src/store/store.ts';

/** A store under test, with a clock that only the test moves. */
export interface OpenStore {
  /** The same object for all calls, until `reopen` replaces it. */
  readonly store: Store;
  /** The store's clock, in ms since the epoch. */
  now(): number;
  /** Moves the store's clock ahead. Nothing is swept by it. */
  advance(ms: number): Promise<void>;
  /** Closes the store and opens the same data again, as a later run would. */
  reopen(): Promise<void>;
  /** Names of what is stored beyond the records of queues, but for what the store drops by itself in time. In order. */
  stored(): Promise<string[]>;
  /** What a census finds; nothing is changed unless it mends. */
  findings(mend?: boolean): Promise<Finding[]>;
  /** Disconnects; data in a shared server stay. */
  close(): Promise<void>;
}

/** How tests come by stores of one kind. Every `open` gives an empty store of its own. */
export interface StoreHarness {
  readonly name: string;
  open(): Promise<OpenStore>;
  /** Ends what the harness started (servers, temporary folders); to be called once, after all tests. */
  stop(): Promise<void>;
}

/** Where virtual clocks start: a time of day without meaning, with milliseconds that show up when dropped. */
export const CLOCK_START = 1_750_000_000_123;
