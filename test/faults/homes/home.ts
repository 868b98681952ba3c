import type { StoreConfig } from '../../../src/store/open-store.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import type { FaultyProxy } from '../../support/faulty-proxy.ts';
import type { RedisCluster } from '../../support/redis-cluster.ts';
import type { RedisSentinel } from '../../support/redis-sentinel.ts';
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
  /** The servers behind them, where one takes over from another. */
  readonly failovers?: Failovers;
  /** The same, where it is a cluster. */
  readonly cluster?: RedisCluster;
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

/** What fails over, whoever decides it. */
export type Failovers = Pick<RedisSentinel, 'settled' | 'stop' | 'url'> &
  Pick<RedisCluster, 'primaries' | 'failOver' | 'crash' | 'freeze'> & {
    /** Of each primary, all of which have to confirm what is answered. */
    readonly replicas: number;
    /** What each server has said last, for the account of a round that failed. */
    output(): string;
  };

export interface HomeOptions {
  /** What holds the code that runs: `SOURCE`, or a changed copy. */
  code: string;
}

export type HomeName = 'embedded' | 'redis' | 'rolling' | 'proxied' | 'failing-disk' | 'sentinel' | 'cluster';
export type OpenHome = (options: HomeOptions) => Promise<Home>;
