import type { Logger } from 'pino';
import { type StoreDescription, type StoreMemory, StoreRefusal } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { weakest } from './durability.ts';
import type { RedisLocation } from './location.ts';
import { readMemory, readServerState } from './server-state.ts';
import { tlsHint } from './tls.ts';
import type { Topology } from './topology.ts';

/** What a server is called that must not be used. */
const UNUSABLE = 'unusable';

export interface ServersOptions {
  topology: Topology;
  location: RedisLocation;
  /** How many must hold what is promised. */
  replicas: number;
  log: Logger | undefined;
  /** Runs a real operation on every shard that may be on its own. */
  check: () => Promise<void>;
}

/** The servers that take writes: whether they may be used, what they promise, and what is wrong with any of them. */
export class Servers {
  readonly #options: ServersOptions;
  /** What each said of its memory when it last answered. */
  readonly #memories = new WeakMap<RedisConnection, StoreMemory>();
  /** What the log was told last of servers that cannot be used. */
  #told: string | null = null;

  constructor(options: ServersOptions) {
    this.#options = options;
  }

  get #primaries(): readonly RedisConnection[] {
    return this.#options.topology.connection.primaries();
  }

  /**
   * Connects to all of them.
   * @throws StoreRefusal when one cannot be reached or must not be used
   */
  async open(): Promise<StoreDescription> {
    const { topology, location } = this.#options;
    try {
      await topology.connection.connect();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const hint = location.shown.startsWith('rediss') ? tlsHint(error) : 'is it running, and is the URL right?';
      throw new StoreRefusal(`Redis at ${location.shown} cannot be reached: ${reason}; ${hint}`, { cause: error });
    }
    if (location.kind === 'single') await this.#refuseCluster();
    const states = await Promise.all(this.#primaries.map((primary) => this.#read(primary)));
    await Promise.all(this.#primaries.map((primary) => this.#checkWait(primary)));
    return { ...weakest(states), location: location.shown };
  }

  /** A node of a cluster refuses most shards. */
  async #refuseCluster(): Promise<void> {
    const { shown } = this.#options.location;
    const infos = await Promise.all(this.#primaries.map((primary) => primary.info('cluster')));
    if (infos.every((info) => info.get('cluster_enabled') !== '1')) return;
    throw new StoreRefusal(
      `${shown} is a node of a cluster: use ${shown.replace('://', '+cluster://').replace(/\/\d*$/, '')}`,
    );
  }

  /** Deletes the libraries of other versions. */
  async tidy(): Promise<void> {
    await Promise.all(this.#primaries.map((primary) => primary.forgetOtherLibraries()));
  }

  /** What holds for all that answer, and what is wrong with any of them; the log is told what is. */
  async look(): Promise<StoreDescription> {
    await this.#confirmAgain();
    const { topology, location } = this.#options;
    const found = await Promise.allSettled(this.#primaries.map((primary) => this.#readNow(primary)));
    const states = found.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const silent = found.find((one) => one.status === 'rejected');
    if (states.length === 0 && silent) throw silent.reason;
    const least = weakest(states);
    const trouble = topology.connection.trouble() ?? (silent ? 'a primary of the cluster does not answer' : null);
    this.#tell(trouble ?? states.find(({ product }) => product === UNUSABLE)?.unmet ?? null);
    return { ...least, location: location.shown, unmet: trouble ?? least.unmet };
  }

  /** Of the fullest of them; whether any of them throws things away. One that does not answer counts as it did when it last has. */
  async memory(): Promise<StoreMemory> {
    const primaries = this.#primaries;
    const found = await Promise.allSettled(primaries.map((primary) => this.#readMemory(primary)));
    const silent = found.find((one) => one.status === 'rejected');
    if (silent && found.every((one) => one.status === 'rejected')) throw silent.reason;
    const all = primaries.flatMap((primary) => this.#memories.get(primary) ?? []);
    const known = all.flatMap(({ used }) => (used === null ? [] : [used]));
    return { used: known.length === 0 ? null : Math.max(...known), evicts: all.some(({ evicts }) => evicts) };
  }

  async #readMemory(primary: RedisConnection): Promise<void> {
    this.#memories.set(primary, await readMemory(primary));
  }

  /** @throws StoreRefusal when the server must not be used */
  #read(primary: RedisConnection): Promise<StoreDescription> {
    return readServerState(primary, this.#shownOf(primary), this.#options.replicas);
  }

  /** What would have kept the broker from starting keeps it from being ready. */
  async #readNow(primary: RedisConnection): Promise<StoreDescription> {
    try {
      return await this.#read(primary);
    } catch (error) {
      if (!(error instanceof StoreRefusal)) throw error;
      return { product: UNUSABLE, location: '', durability: 'none', note: error.message, unmet: error.message };
    }
  }

  #shownOf({ name }: RedisConnection): string {
    const { kind, shown } = this.#options.location;
    return kind === 'cluster' ? `${name} of ${shown}` : shown;
  }

  async #checkWait(primary: RedisConnection): Promise<void> {
    const { replicas } = this.#options;
    if (replicas === 0) return;
    try {
      await primary.tryWait();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StoreRefusal(
        `LESSOR_DURABILITY=replicated:${replicas} needs the command WAIT, which ${this.#shownOf(primary)} refuses (${reason}): allow it for this user, or use another durability`,
      );
    }
  }

  /** Where the last confirmation fell short: whether the next one does too. Nobody else may ask, as long as this broker is not ready. */
  async #confirmAgain(): Promise<void> {
    const short = this.#primaries.some(({ replication }) => (replication?.tooFew ?? null) !== null);
    if (short) await this.#options.check().catch(() => {});
  }

  /** Says once what is wrong with a server, and once that it is not any more. */
  #tell(trouble: string | null): void {
    if (trouble === this.#told) return;
    this.#told = trouble;
    if (trouble === null) this.#options.log?.info('all servers of the store can be used again');
    else this.#options.log?.warn(`not ready: ${trouble}`);
  }
}
