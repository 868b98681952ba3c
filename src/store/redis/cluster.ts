import type { Logger } from 'pino';
import { StoreError } from '../store.ts';
import { type Connection, RedisConnection } from './connection.ts';
import { isLost, isRefused, storeError } from './failures.ts';
import type { Library, OperationName } from './library.ts';
import { type Endpoint, nameOf, type RedisLocation } from './location.ts';
import { Patience, PATIENCE_MS } from './patience.ts';
import { readMoved, slotOfKey } from './slots.ts';
import { type Redirection, type SlotMap, SlotMaps } from './slot-maps.ts';

/** A shard whose server refuses it, or that has none, is tried again after this. */
const RETRY_MS = 25;
/** The map of the slots is read at most this often. */
const MAP_MS = 100;
/** A server that has no shard any more may still answer calls that are under way, and say that replicas have them. */
const GRACE_MS = 2000;

export interface ClusterOptions {
  location: RedisLocation;
  library: Library;
  /** How many replicas must hold what is promised before it is. */
  replicas: number;
  log: Logger | undefined;
  /** The base key of each shard. */
  bases: readonly string[];
  /** There is a connection to a server, the first or another. */
  onReady: (connection: RedisConnection) => void;
}

/** Where a shard is. */
interface Place {
  shard: number;
  slot: number;
  /** The primary that serves its slot, as far as is known. */
  node: RedisConnection | null;
  /** Since when nothing but refusals has been heard of it, and the last of them. */
  refusedSince: number;
  refusedAt: number;
}

/**
 * A connection for commands to each primary of a cluster that has a shard. Each call goes to where its shard is. A server that
 * refuses a call has done nothing: the call is made again, at the place that the refusal or the cluster's map of slots names,
 * for as long as the patience with a lost connection lasts. An ASK is not followed: while a slot is on its way some keys of the shard are
 * here and some there, and no operation must see half of them; the primary refuses all calls meanwhile, since the base key that
 * they declare never exists.
 */
export class ClusterConnection implements Connection {
  readonly #options: ClusterOptions;
  readonly #places: readonly Place[];
  readonly #byKey: ReadonlyMap<string, Place>;
  readonly #nodes = new Map<string, RedisConnection>();
  readonly #endpoints = new Map<string, Endpoint>();
  /** Servers without a shard, until they are let go of. */
  readonly #leaving = new Map<RedisConnection, NodeJS.Timeout>();
  readonly #maps: SlotMaps;
  readonly #movedListeners: ((shards: readonly number[]) => void)[] = [];
  /** The last redirection that was followed. */
  #moved: Redirection | null = null;
  #reading: Promise<void> | null = null;
  #readAt = Number.NEGATIVE_INFINITY;
  #changed = Promise.withResolvers<void>();
  #closed = false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#places = options.bases.map((base, shard) => ({
      shard,
      slot: slotOfKey(base),
      node: null,
      refusedSince: Number.NEGATIVE_INFINITY,
      refusedAt: Number.NEGATIVE_INFINITY,
    }));
    this.#byKey = new Map(this.#places.map((place) => [options.bases[place.shard] ?? '', place]));
    this.#maps = new SlotMaps(options.location);
  }

  async connect(): Promise<void> {
    const map = await this.#maps.read(() => null, null);
    this.#apply(map);
    const unserved = this.#places.filter(({ node }) => node === null);
    if (unserved.length > 0) throw new Error(`no node of the cluster serves slot ${unserved[0]?.slot}`);
    await Promise.all(this.primaries().map((node) => node.connect()));
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    for (const node of this.#nodes.values()) node.close();
    this.#change();
  }

  primaries(): readonly RedisConnection[] {
    return [...new Set(this.#places.flatMap(({ node }) => (node === null ? [] : [node])))];
  }

  trouble(): string | null {
    const lines: string[] = [];
    for (const [node, places] of Map.groupBy(this.#places, (place) => place.node)) {
      const refused = places.filter(isRefusedNow);
      if (node === null) lines.push(`no node of the cluster serves ${shardsOf(places)}`);
      else if (!node.ready) lines.push(`not connected to ${node.name}, the primary of ${shardsOf(places)}`);
      else if (refused.length > 0)
        lines.push(`${node.name} refuses ${shardsOf(refused)}: slots on their way, or the cluster down`);
    }
    return lines.length === 0 ? null : lines.join('; ');
  }

  /** Where the primary of a shard listens. */
  endpointOf(shard: number): Endpoint | null {
    const node = this.#places[shard]?.node;
    return (node && this.#endpoints.get(node.name)) ?? null;
  }

  /** Calls `listener` with the shards that have another primary than before. */
  onMoved(listener: (shards: readonly number[]) => void): void {
    this.#movedListeners.push(listener);
  }

  async run(
    operation: OperationName,
    key: string,
    args: readonly (string | number)[],
    again: (() => void) | null,
    since = performance.now(),
  ): Promise<unknown> {
    const place = this.#byKey.get(key);
    if (place === undefined) throw new RangeError(`there is no shard ${key}`);
    // However the cluster changes meanwhile, it comes to an end.
    const patience = new Patience(since);
    let firstRefusal = Number.POSITIVE_INFINITY;
    for (;;) {
      const { node } = place;
      if (node === null || !node.ready) {
        await this.#waitFor(place, patience.late);
        continue;
      }
      const sent = performance.now();
      try {
        const reply = await node.attempt(operation, key, args);
        place.refusedAt = Number.NEGATIVE_INFINITY;
        return reply;
      } catch (error) {
        if (isRefused(error)) {
          // Two servers may each believe that the other is it: only the first redirection is followed at once.
          const first = firstRefusal === Number.POSITIVE_INFINITY;
          if (first) firstRefusal = performance.now();
          if (this.#follow(place, node, error) && first && !patience.late) continue;
          if (outOfPatience(place) || patience.late || performance.now() - firstRefusal >= PATIENCE_MS)
            throw storeError(error);
          await this.#pause(RETRY_MS);
          continue;
        }
        if (!isLost(error)) throw storeError(error);
        void this.lookAgain();
        if (again === null || !patience.mayRepeat(error, sent)) throw storeError(error);
        again();
      }
    }
  }

  /** Goes where a refusal points. False when it points nowhere else. */
  #follow(place: Place, from: RedisConnection, error: unknown): boolean {
    if (this.#closed) return false;
    const asked = this.#endpoints.get(from.name);
    const moved = error instanceof Error && asked ? readMoved(error.message, asked) : null;
    void this.lookAgain();
    if (moved === null || nameOf(moved) === from.name) return false;
    this.#moved = { slot: place.slot, name: nameOf(moved) };
    if (place.node === from) this.#settle([[place, this.#nodeAt(moved)]]);
    return place.node !== from;
  }

  /** Waits for a shard whose primary is not connected, or that has none. */
  async #waitFor(place: Place, late: boolean): Promise<void> {
    void this.lookAgain();
    const { node } = place;
    const since = node?.downSince ?? null;
    const over = node === null ? outOfPatience(place) : since !== null && performance.now() - since >= PATIENCE_MS;
    if (over || late || this.#closed) throw new StoreError('unavailable', `Redis: ${this.#complaint(place)}`);
    await this.#pause(RETRY_MS);
  }

  #complaint(place: Place): string {
    return place.node === null
      ? `no node of the cluster serves ${shardsOf([place])}`
      : `not connected to ${place.node.name}, the primary of ${shardsOf([place])}`;
  }

  /** Reads the map of the slots again, unless that was done just now. */
  lookAgain(): Promise<void> {
    if (this.#closed || performance.now() - this.#readAt < MAP_MS) return this.#reading ?? Promise.resolve();
    this.#reading ??= this.#read();
    return this.#reading;
  }

  async #read(): Promise<void> {
    try {
      const connectionTo = (endpoint: Endpoint): RedisConnection | null => this.#nodes.get(nameOf(endpoint)) ?? null;
      this.#apply(await this.#maps.read(connectionTo, this.#moved));
    } catch {
      // Nobody has a map: what is known is kept, and whoever calls meanwhile hears of it.
    } finally {
      this.#reading = null;
      this.#readAt = performance.now();
    }
  }

  #apply(map: SlotMap): void {
    if (this.#closed) return;
    this.#settle(
      this.#places.map((place) => {
        const owner = map.ownerOf(place.slot);
        return [place, owner === null ? null : this.#nodeAt(owner)];
      }),
    );
  }

  #settle(found: readonly (readonly [Place, RedisConnection | null])[]): void {
    const moved: number[] = [];
    for (const [place, node] of found) {
      if (place.node === node) continue;
      if (node !== null) moved.push(place.shard);
      place.node = node;
      place.refusedAt = Number.NEGATIVE_INFINITY;
    }
    this.#retire();
    if (moved.length === 0) return;
    this.#change();
    for (const listener of this.#movedListeners) listener(moved);
  }

  #nodeAt(endpoint: Endpoint): RedisConnection {
    const name = nameOf(endpoint);
    let node = this.#nodes.get(name);
    if (node === undefined) {
      const { location, library, replicas, log, onReady } = this.#options;
      node = new RedisConnection({
        name,
        client: location.client,
        endpoint: () => endpoint,
        library,
        replicas,
        log,
        onReady: (connection) => {
          this.#change();
          onReady(connection);
        },
      });
      this.#nodes.set(name, node);
      this.#endpoints.set(name, endpoint);
      node.start();
    }
    return node;
  }

  /** Lets go of servers that have had no shard for a while. */
  #retire(): void {
    const used = new Set(this.primaries());
    for (const node of this.#nodes.values()) {
      if (used.has(node)) {
        clearTimeout(this.#leaving.get(node));
        this.#leaving.delete(node);
      } else if (!this.#leaving.has(node)) {
        const timer = setTimeout(() => {
          this.#leaving.delete(node);
          node.close();
          this.#nodes.delete(node.name);
          this.#endpoints.delete(node.name);
        }, GRACE_MS);
        timer.unref();
        this.#leaving.set(node, timer);
      }
    }
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Waits until something has changed, but not longer than this. */
  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await Promise.race([this.#changed.promise, promise]);
    clearTimeout(timer);
  }
}

/** Notes a refusal; true when nothing else has been heard for as long as a lost connection is waited for. */
function outOfPatience(place: Place): boolean {
  const now = performance.now();
  if (now - place.refusedAt > PATIENCE_MS) place.refusedSince = now;
  place.refusedAt = now;
  return now - place.refusedSince >= PATIENCE_MS;
}

function isRefusedNow({ refusedSince, refusedAt }: Place): boolean {
  return refusedAt - refusedSince >= PATIENCE_MS && performance.now() - refusedAt < PATIENCE_MS;
}

/** For people: "shard 3 (slot 5460)", "shards 1, 2, 3". */
function shardsOf(places: readonly Place[]): string {
  const [only, ...others] = places;
  if (only && others.length === 0) return `shard ${only.shard} (slot ${only.slot})`;
  return `shards ${places.map(({ shard }) => shard).join(', ')}`;
}
