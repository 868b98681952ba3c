import type { StoreConfig } from '../../../src/store/open-store.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import type { FaultyProxy } from '../../support/faulty-proxy.ts';
import type { DiskFault } from '../disk/recorder.ts';
import type { BrokerProcess } from './broker-process.ts';

/** What the load runs on: brokers, and the store behind them. */
export interface Home {
  readonly name: string;
  /** Where clients call; stays the same through restarts. */
  readonly urls: readonly string[];
  readonly brokers: readonly BrokerProcess[];
  /** The Redis behind them, where that is one server. */
  readonly redis: RedisServer | null;
  /** The connections of each hop, where they can be made to fail. */
  readonly network?: { readonly clients: readonly FaultyProxy[]; readonly store: readonly FaultyProxy[] };
  /** Makes the disk of the store fail, where that is possible. */
  readonly failDisk?: (fault: DiskFault) => void;
  /** What a census of the store is opened with; the directory is for a copy, where one has to be made. */
  censusOf(dir: string): Promise<StoreConfig>;
  /** What is left in the store, once everything was deleted over the API, that should not be. */
  leftovers(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

export interface HomeOptions {
  /** What holds the code that runs: `SOURCE`, or a changed copy. */
  code: string;
}

export type HomeName = 'embedded' | 'redis' | 'rolling' | 'proxied' | 'failing-disk';
export type OpenHome = (options: HomeOptions) => Promise<Home>;
