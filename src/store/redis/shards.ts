import { type Stamped, StoreError } from '../store.ts';
import { shardOfTaskId } from '../task-ids.ts';
import type { Connection } from './connection.ts';
import type { Keyspace } from './keys.ts';
import { Lane } from './lane.ts';
import * as replies from './replies.ts';
import type { OperationName } from './library.ts';

/** Items in one call to Redis; an enqueue to one queue may be larger. */
export const MAX_ITEMS = 128;
/** How often every shard is swept, whatever is known to be due: other processes write too. */
const FULL_SWEEP_MS = 1000;

/** What does the same when it runs a second time is simply sent again. */
const SAFE = (): void => {};

export interface ShardsOptions {
  connection: Connection;
  keys: Keyspace;
  /** Names this process in what is published. */
  origin: string;
  /** Whether the operations go by another clock than the server's. */
  virtualClock: boolean;
}

/** Arguments of an operation. */
export type Arguments = readonly (string | number)[];

/** To whom a call of a lane goes, and since when those that are in it have heard nothing: its patience counts from then. */
export interface Part {
  shard: number;
  since: number;
}

/** How one operation works on the items of one shard. */
export interface Operation<Item, Result> {
  /** Weight that one call may have; an item weighs `weightOf`. */
  maxWeight: number;
  weightOf: (item: Item) => number;
  run: (part: Part, items: readonly Item[]) => Promise<Stamped<Result>>;
  /** One call to Redis at a time for each shard. */
  serial: boolean;
  /** By shard, made when first needed. */
  lanes: Lane<Item, Result>[];
}

/** An operation on items of which each weighs one, or as much as is said. */
export function operation<Item, Result>(
  run: Operation<Item, Result>['run'],
  {
    maxWeight = MAX_ITEMS,
    weightOf = () => 1,
    serial = false,
  }: Partial<Pick<Operation<Item, Result>, 'maxWeight' | 'weightOf' | 'serial'>> = {},
): Operation<Item, Result> {
  return { maxWeight, weightOf, serial, run, lanes: [] };
}

/** The shards of the data: which one has what, calls to them, and when something in them is due. */
export class Shards {
  readonly keys: Keyspace;
  readonly #connection: Connection;
  readonly #virtualClock: boolean;
  readonly #origin: string;
  readonly #dueAt: Float64Array;
  #clockOffset = Date.now() - performance.now();
  #lastFullSweep = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor({ connection, keys, origin, virtualClock }: ShardsOptions) {
    this.keys = keys;
    this.#connection = connection;
    this.#virtualClock = virtualClock;
    this.#origin = origin;
    this.#dueAt = new Float64Array(keys.shards).fill(Number.POSITIVE_INFINITY);
  }

  close(): void {
    this.#closed = true;
  }

  /** The server's clock as last heard, carried forward by this process. */
  now(): number {
    return Math.floor(performance.now() + this.#clockOffset);
  }

  /** Something in the shard is due at a time, by the server's clock. */
  expect(shard: number, dueAt: number): void {
    if (dueAt < this.dueAt(shard)) this.#dueAt[shard] = dueAt;
  }

  dueAt(shard: number): number {
    return this.#dueAt[shard] ?? Number.POSITIVE_INFINITY;
  }

  /** Forgets what is due in a shard, which the caller is about to find out anew. */
  forgetDue(shard: number): void {
    this.#dueAt[shard] = Number.POSITIVE_INFINITY;
  }

  /** When the first of all shards is due. */
  nextDue(): number | null {
    let next = Number.POSITIVE_INFINITY;
    for (const dueAt of this.#dueAt) next = Math.min(next, dueAt);
    return next === Number.POSITIVE_INFINITY ? null : next;
  }

  /** Shards in which something is known to be due, and every so often all of them. */
  toSweep(): number[] {
    // Nothing can be told about what is due by a clock that jumps.
    const all = this.#virtualClock || performance.now() - this.#lastFullSweep >= FULL_SWEEP_MS;
    if (all) this.#lastFullSweep = performance.now();
    const now = this.now();
    return [...this.#dueAt.keys()].filter((shard) => all || this.dueAt(shard) <= now);
  }

  /**
   * Runs an operation that answers {now, due, result}.
   * @param again what to do before it is sent once more because its reply was lost; null when it must not be
   * @param since from when its patience counts; now, when left out
   * @throws StoreError
   */
  async ask(
    name: OperationName,
    shard: number,
    args: Arguments,
    again: ((sent: (string | number)[]) => void) | null = SAFE,
    since?: number,
  ): Promise<{ now: number; dueAt: number | null; result: unknown }> {
    if (this.#closed) throw new StoreError('closed', 'the store is closed');
    const sent = [...args, this.#origin];
    const reply = await this.#connection.run(name, this.keys.base(shard), sent, again && (() => again(sent)), since);
    const [nowReply, due, result] = replies.list(reply);
    const now = replies.number(nowReply);
    this.#clockOffset = now - performance.now();
    const dueAt = replies.maybeNumber(due);
    if (dueAt !== null) this.expect(shard, dueAt);
    return { now, dueAt, result };
  }

  /** Runs an operation that answers a result per item, and decodes each. */
  async askEach<Result>(
    name: OperationName,
    { shard, since }: Part,
    args: Arguments,
    decode: (reply: unknown, index: number, now: number) => Result,
    again: ((sent: (string | number)[]) => void) | null = SAFE,
  ): Promise<Stamped<Result>> {
    const { now, dueAt, result } = await this.ask(name, shard, args, again, since);
    return { now, dueAt, results: replies.list(result).map((reply, index) => decode(reply, index, now)) };
  }

  /** Spreads items over shards, for items that belong to a queue. */
  byQueue<Item, Result>(
    operation: Operation<Item, Result>,
    items: readonly Item[],
    queueOf: (item: Item) => string,
  ): Promise<Stamped<Result>> {
    const [first] = items;
    if (items.length === 1 && first !== undefined) {
      return this.#lane(operation, this.keys.shardOfQueue(queueOf(first))).call(items, operation.weightOf(first));
    }
    return this.#scatter(operation, items, (item) => this.keys.shardOfQueue(queueOf(item)), undefined);
  }

  /** Spreads items over shards, for items that name a task; an id that no store has minted gets `unknown` without a call. */
  byId<Item, Result>(
    operation: Operation<Item, Result>,
    items: readonly Item[],
    idOf: (item: Item) => string,
    unknown: Result,
  ): Promise<Stamped<Result>> {
    const [first] = items;
    if (items.length === 1 && first !== undefined) {
      const shard = this.shardOfId(idOf(first));
      if (shard !== null) return this.#lane(operation, shard).call(items, operation.weightOf(first));
    }
    return this.#scatter(operation, items, (item) => this.shardOfId(idOf(item)), unknown);
  }

  /** Null for an id that no store has minted. */
  shardOfId(id: string): number | null {
    const shard = shardOfTaskId(id);
    return shard !== null && shard < this.keys.shards ? shard : null;
  }

  /**
   * Splits items over shards and bounded calls, in order, and puts the results back in the items' order. The
   * calls travel together; where one fails the whole does, since its outcome is not known.
   */
  async #scatter<Item, Result>(
    operation: Operation<Item, Result>,
    items: readonly Item[],
    shardOf: (item: Item) => number | null,
    unknown: Result | undefined,
  ): Promise<Stamped<Result>> {
    const groups: { shard: number; weight: number; items: Item[]; indexes: number[] }[] = [];
    const open = new Map<number, (typeof groups)[number]>();
    const results = new Array<Result>(items.length);
    for (const [index, item] of items.entries()) {
      const shard = shardOf(item);
      if (shard === null) {
        if (unknown !== undefined) results[index] = unknown;
        continue;
      }
      const weight = operation.weightOf(item);
      let group = open.get(shard);
      if (!group || group.weight + weight > operation.maxWeight || group.items.length >= MAX_ITEMS) {
        group = { shard, weight: 0, items: [], indexes: [] };
        groups.push(group);
        open.set(shard, group);
      }
      group.weight += weight;
      group.items.push(item);
      group.indexes.push(index);
    }
    const answered = await Promise.all(
      groups.map((group) => this.#lane(operation, group.shard).call(group.items, group.weight)),
    );
    let now = groups.length === 0 ? this.now() : 0;
    let dueAt: number | null = null;
    for (const [at, reply] of answered.entries()) {
      now = Math.max(now, reply.now);
      dueAt = earlier(dueAt, reply.dueAt);
      for (const [place, index] of (groups[at]?.indexes ?? []).entries()) {
        const result = reply.results[place];
        if (result === undefined) throw new replies.UnexpectedReply('as many results as items', reply.results.length);
        results[index] = result;
      }
    }
    return { now, dueAt, results };
  }

  #lane<Item, Result>(operation: Operation<Item, Result>, shard: number): Lane<Item, Result> {
    const lanes = operation.lanes;
    let lane = lanes[shard];
    if (!lane) {
      const { maxWeight, serial, run } = operation;
      lane = new Lane({ maxItems: MAX_ITEMS, maxWeight, serial, run: (items, since) => run({ shard, since }, items) });
      lanes[shard] = lane;
    }
    return lane;
  }
}

/** The earlier of two times, null being never. */
export function earlier(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}
