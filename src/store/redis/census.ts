import { randomBytes } from 'node:crypto';
import type { Census, CensusOptions, CensusTotals } from '../census.ts';
import { StoreRefusal } from '../store.ts';
import { keySets, look, type MemberSet, queueSets, type Standing, standing } from './census-replies.ts';
import { CensusPace } from './census-pace.ts';
import type { RedisConnection, ScannedKeys } from './connection.ts';
import { DATA_VERSION, otherVersion } from './data-version.ts';
import { Keyspace } from './keys.ts';
import { loadLibrary } from './library.ts';
import { type Credentials, type RedisLocation, readLocation } from './location.ts';
import * as replies from './replies.ts';
import { type Arguments, Shards } from './shards.ts';
import type { TlsMaterial } from './tls.ts';
import { makeTopology, type Topology } from './topology.ts';

/** Names of keys in one look. */
const KEYS = 32;
const NAMES = 100;
/** Entries of a line in one look. */
const ENTRIES = 128;
/** Groups in one look. */
const GROUPS = 16;
/** Ready tasks that are kept in memory at once. */
const STANDING = 200_000;
/** Tasks, and receipts, on their way that are looked at. */
const ON_WAY = 20_000;
/** How often a queue is counted before it is said to be too busy for it. */
const TRIES = 5;
/** Entries of the lines of a queue that is counted: their places are kept in memory meanwhile. */
const COUNTABLE = 1_000_000;
/** So many looks at a line are taken before it is asked whether the count is still good for anything. */
const LOOKS_PER_MARK = 32;
/** Of each priority. */
const NONE_LOST: readonly number[] = Array.from({ length: 10 }, () => 0);

export interface RedisCensusOptions {
  url: string;
  prefix: string;
  /** For URLs that begin with `rediss`. */
  tls?: TlsMaterial;
  /** For the Sentinels, where they want any. */
  sentinels?: Credentials;
  /** Only for tests: see RedisStoreOptions. */
  clockInclude?: string;
  /** Only for tests: how many entries of lines are counted, instead of a million. */
  countable?: number;
}

/**
 * A census of a store on Redis, while brokers work on it. What one call finds it has seen in one moment. What takes several calls,
 * which is to know the line of a ready task, is found by what cannot have changed in between (see `#lines`).
 */
export class RedisCensus implements Census {
  readonly location: string;
  readonly #options: RedisCensusOptions;
  readonly #servers: RedisLocation;
  readonly #pace = new CensusPace();
  #topology: Topology;
  #shards: Shards;
  #take: CensusOptions = { mend: false, found: () => {} };
  #tasks = 0;
  #queues = 0;
  #unchecked: string[] = [];
  /** Tasks of which a part is on its way, and operations whose receipts do not go by themselves; the shard of each. */
  readonly #parked = new Map<string, number>();
  readonly #receipts = new Map<string, number>();
  /** Parts of such, beyond as many as are kept here. */
  #passed = 0;

  constructor(options: RedisCensusOptions) {
    this.#options = options;
    this.#servers = readLocation(options.url, options.tls ?? {}, options.sentinels);
    this.location = `${this.#servers.shown} under "${options.prefix}"`;
    [this.#topology, this.#shards] = this.#reach(1);
  }

  /** Connections for so many shards, none of which is made yet. */
  #reach(shards: number): [Topology, Shards] {
    const { prefix, clockInclude } = this.#options;
    const keys = new Keyspace(prefix, shards);
    const topology = makeTopology({
      ...{ location: this.#servers, library: loadLibrary(clockInclude), replicas: 0, log: undefined },
      bases: keys.bases,
      onReady: () => {},
    });
    const origin = randomBytes(9).toString('base64url');
    const virtualClock = clockInclude !== undefined;
    return [topology, new Shards({ connection: topology.connection, keys, origin, virtualClock })];
  }

  async #connect(): Promise<void> {
    try {
      await this.#topology.connection.connect();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StoreRefusal(
        `Redis at ${this.location} cannot be reached: ${reason}; is it running, and is the URL right?`,
        { cause: error },
      );
    }
  }

  /** @throws StoreRefusal with one line when there is nothing to look at, or it is of another version */
  async open(): Promise<void> {
    await this.#connect();
    const { answer } = look((await this.#shards.ask('census', 0, ['marks'])).result);
    const [version, shards] = replies.list(answer);
    if (version === null || shards === null) {
      throw new StoreRefusal(
        `there are no tasks of Lessor at ${this.location}: look at LESSOR_STORE and LESSOR_PREFIX`,
      );
    }
    if (replies.number(version) !== DATA_VERSION) throw otherVersion(this.location, replies.number(version));
    await this.close();
    [this.#topology, this.#shards] = this.#reach(replies.number(shards));
    await this.#connect();
  }

  async close(): Promise<void> {
    this.#shards.close();
    this.#topology.close();
  }

  async take(options: CensusOptions): Promise<CensusTotals> {
    this.#take = options;
    this.#tasks = 0;
    this.#queues = 0;
    this.#unchecked = [];
    await this.#keys();
    await this.#moves();
    for (let shard = 0; shard < this.#shards.keys.shards; shard++) {
      for (const list of ['queues', 'due', 'keep', 'jobs', 'jobs-ended']) {
        await this.#scanned((cursor) => this.#look(shard, ['own', list, cursor]));
      }
      for (let after = ''; ; ) {
        const names = replies.list((await this.#ask('queue-names', shard, [after, NAMES])).result).map(replies.text);
        for (const name of names) await this.#queue(shard, name);
        const last = names.at(-1);
        if (last === undefined || names.length < NAMES) break;
        after = last;
      }
    }
    await this.#groups();
    return { queues: this.#queues, tasks: this.#tasks, unchecked: this.#unchecked };
  }

  #ask(name: 'census' | 'mend' | 'queue-names', shard: number, args: Arguments): Promise<{ result: unknown }> {
    return this.#pace.step(() => this.#shards.ask(name, shard, args));
  }

  /** A bounded part of a shard, in one moment. */
  async #look(shard: number, args: Arguments): Promise<unknown> {
    const { result } = await this.#ask(this.#take.mend ? 'mend' : 'census', shard, args);
    const { answer, findings } = look(result);
    for (const finding of findings) this.#take.found(finding);
    return answer;
  }

  /** Goes on with a cursor until the end. */
  async #scanned(step: (cursor: string) => Promise<unknown>): Promise<void> {
    for (let cursor = '0'; ; ) {
      cursor = replies.text(await step(cursor));
      if (cursor === '0') return;
    }
  }

  /** All keys of the store by their names, shard by shard. */
  async #keys(): Promise<void> {
    const waiting = Array.from({ length: this.#shards.keys.shards }, (): string[] => []);
    await this.#eachKey(async (shard, name) => {
      const names = waiting[shard];
      if (names === undefined) return;
      names.push(name);
      if (names.length >= KEYS) await this.#lookAtKeys(shard, names.splice(0));
    });
    for (const [shard, names] of waiting.entries()) if (names.length > 0) await this.#lookAtKeys(shard, names);
  }

  async #lookAtKeys(shard: number, names: readonly string[]): Promise<void> {
    const sets = new Map(
      keySets(await this.#look(shard, ['keys', ...names])).map((set) => [`${set.queue}|${set.kind}|${set.more}`, set]),
    );
    for (const set of sets.values()) {
      if (set.kind === 'c' || set.kind === 'p') this.#onWay(shard, set.kind, set.more);
      else await this.#members(shard, set);
    }
  }

  #onWay(shard: number, kind: 'c' | 'p', id: string): void {
    const some = kind === 'c' ? this.#parked : this.#receipts;
    if (some.size < ON_WAY) some.set(id, shard);
    else if (!some.has(id)) this.#passed += 1;
  }

  /** When all operations have been looked at: one that was put back takes its tasks further. */
  async #moves(): Promise<void> {
    for (const [id, shard] of this.#parked) await this.#look(shard, ['parked', id]);
    for (const [id, shard] of this.#receipts) {
      // The receipt is given an end before its operation is: one that has none after that is left behind.
      const home = this.#shards.shardOfId(id);
      if (home === null || (await this.#look(home, ['open', id])) !== '1') await this.#look(shard, ['receipt', id]);
    }
    if (this.#passed > 0) {
      this.#unchecked.push(
        `${this.#passed} keys of tasks and receipts on their way were not looked at: there are too many`,
      );
    }
    this.#passed = 0;
    this.#parked.clear();
    this.#receipts.clear();
  }

  #members(shard: number, { queue, kind, more }: MemberSet): Promise<void> {
    return this.#scanned((cursor) => this.#look(shard, ['members', queue, kind, more, cursor]));
  }

  /** Names of keys without the base of their shard. What others keep on the server is not looked at. */
  async #eachKey(visit: (shard: number, name: string) => Promise<void>): Promise<void> {
    for (const primary of this.#topology.connection.primaries()) await this.#eachKeyOf(primary, visit);
  }

  async #eachKeyOf(primary: RedisConnection, visit: (shard: number, name: string) => Promise<void>): Promise<void> {
    const start = `${this.#options.prefix}:{`;
    for (let cursor: string | null = null; ; ) {
      const from: string | null = cursor;
      const { keys, next }: ScannedKeys = await this.#pace.step(() => primary.scan(`${start}*}:*`, from));
      for (const key of keys) {
        const end = key.indexOf('}:', start.length);
        const shard = Number(key.slice(start.length, end));
        if (end > 0 && Number.isInteger(shard)) await visit(shard, key.slice(end + 2));
      }
      if (next === null) return;
      cursor = next;
    }
  }

  async #queue(shard: number, name: string): Promise<void> {
    this.#queues += 1;
    const lost = [...NONE_LOST];
    let ready: Standing[] = [];
    for (let after = ''; ; ) {
      const buckets = replies.list(await this.#look(shard, ['buckets', name, after])).map(replies.text);
      for (const bucket of buckets) {
        const [tasks, found] = replies.list(await this.#look(shard, ['tasks', name, bucket]));
        this.#tasks += replies.number(tasks);
        ready.push(...standing(found));
        if (ready.length < STANDING) continue;
        await this.#lines(shard, name, ready, lost);
        ready = [];
      }
      const last = buckets.at(-1);
      if (last === undefined || buckets.length < 256) break;
      after = last;
    }
    await this.#lines(shard, name, ready, lost);
    const large = queueSets(name, await this.#look(shard, ['sets', name]));
    for (const set of large) await this.#members(shard, set);
    if (large.length > 0) await this.#look(shard, ['counters', name]);
    await this.#count(shard, name, lost);
  }

  /**
   * Finds those that stand in no line. A ready task has one place as long as it stands in a list, and its entry stays in that list;
   * so one that is not found in the whole of the lists, and has the place that was known before they were read, is in none.
   */
  async #lines(shard: number, queue: string, ready: readonly Standing[], lost: number[]): Promise<void> {
    const { mark, lengths } = await this.#mark(shard, queue);
    const missing = new Map(ready.map(({ id, place }) => [place, id]));
    const seen = new Set<string>();
    const twice = new Map<string, Standing>();
    await this.#walk(shard, queue, lengths, ({ id, place }) => {
      if (seen.has(place)) twice.set(place, { id, place });
      if (missing.delete(place)) seen.add(place);
    });
    const flat = (some: readonly Standing[]): string[] => some.flatMap(({ id, place }) => [id, place]);
    for (const some of portions([...missing].map(([place, id]) => ({ id, place })))) {
      const priorities = replies.list(await this.#look(shard, ['lost', queue, ...flat(some)]));
      for (const priority of priorities.map(replies.number)) lost[priority] = (lost[priority] ?? 0) + 1;
    }
    for (const some of portions([...twice.values()])) await this.#look(shard, ['twice', queue, mark, ...flat(some)]);
  }

  /** How the lines of a queue stand: a text that stays the same while nothing comes or goes, and how long they are by priority. */
  async #mark(shard: number, queue: string): Promise<{ mark: string; lengths: number[] }> {
    const [mark, ...lengths] = replies.list(await this.#look(shard, ['mark', queue]));
    return { mark: replies.text(mark), lengths: lengths.map(replies.number) };
  }

  /**
   * All entries that have been in the queue's lists since they were as long as is said, and stand for ready tasks. From the back: what is
   * taken from the front meanwhile leaves the places from the back as they are, and what comes at the back makes entries come
   * twice, never be left out.
   */
  async #walk(
    shard: number,
    queue: string,
    lengths: readonly number[],
    visit: (entry: Standing, priority: number) => void,
    goesOn: () => Promise<boolean> = async () => true,
  ): Promise<void> {
    for (const [priority, length] of lengths.entries()) {
      if (length === 0) continue;
      for (let passed = 0; ; passed += ENTRIES) {
        const args = ['line', queue, priority, -passed - ENTRIES, -passed - 1];
        const [entries, valid] = replies.list(await this.#look(shard, args));
        for (const entry of standing(valid)) visit(entry, priority);
        if (replies.number(entries) < ENTRIES) break;
        if (!(await goesOn())) return;
      }
    }
  }

  async #count(shard: number, queue: string, lost: readonly number[]): Promise<void> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      if ((await this.#look(shard, ['counts', queue, '', ...lost])) !== 'long') return;
      const { mark, lengths } = await this.#mark(shard, queue);
      const entries = lengths.reduce((sum, length) => sum + length, 0);
      const most = this.#options.countable ?? COUNTABLE;
      if (entries > most) {
        this.#unchecked.push(
          `ready tasks of queue ${queue} were not counted: its lines have more than ${most} entries`,
        );
        return;
      }
      const places = lengths.map(() => new Set<string>());
      let looks = 0;
      let moved = false;
      await this.#walk(
        ...([shard, queue, lengths] as const),
        ({ place }, priority) => places[priority]?.add(place),
        async () => {
          looks += 1;
          if (looks % LOOKS_PER_MARK === 0) moved = (await this.#mark(shard, queue)).mark !== mark;
          return !moved;
        },
      );
      if (moved) continue;
      const counts = places.map((some, priority) => some.size + (lost[priority] ?? 0));
      if ((await this.#look(shard, ['counts', queue, mark, ...counts])) !== 'moved') return;
    }
    this.#unchecked.push(`ready tasks of queue ${queue} were not counted: too many came and went meanwhile`);
  }

  /** When all structures have been looked at, since what is put back may set a group going. */
  async #groups(): Promise<void> {
    const waiting = new Map<string, { shard: number; queue: string; digests: Set<string> }>();
    const lookAt = async (key: string): Promise<void> => {
      const some = waiting.get(key);
      waiting.delete(key);
      if (some === undefined) return;
      const left = replies.number(await this.#look(some.shard, ['groups', some.queue, ...some.digests]));
      if (left > 0) {
        this.#unchecked.push(
          `${left} groups of queue ${some.queue} were not counted: too many of its tasks are leased or scheduled`,
        );
      }
    };
    await this.#eachKey(async (shard, name) => {
      const [, queue, digest] = /^[wy]:(.*):([^:]*)$/.exec(name) ?? [];
      if (queue === undefined || digest === undefined) return;
      const some = waiting.get(queue) ?? { shard, queue, digests: new Set<string>() };
      some.digests.add(digest);
      waiting.set(queue, some);
      // Neither a group nor a queue waits for long, so that what is kept of them is bounded.
      if (some.digests.size >= GROUPS) await lookAt(queue);
      const [oldest] = waiting.keys();
      if (waiting.size > 1000 && oldest !== undefined) await lookAt(oldest);
    });
    for (const key of waiting.keys()) await lookAt(key);
  }
}

/** As many as one look takes. */
function portions(all: readonly Standing[]): (readonly Standing[])[] {
  return Array.from({ length: Math.ceil(all.length / 64) }, (_, index) => all.slice(index * 64, (index + 1) * 64));
}
