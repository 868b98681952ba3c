import type { Logger } from 'pino';
import { DEFAULT_BACKOFF } from '../../domain/backoff.ts';
import { LIMITS } from '../../domain/limits.ts';
import { type QueueSettings, mergeQueueSettings } from '../../domain/queue.ts';
import { isTerminal, type TaskRecord, type TaskState } from '../../domain/task.ts';
import {
  type CancelItem,
  type CancelOutcome,
  type ConfigureOutcome,
  type EnqueueCall,
  type EnqueueOutcome,
  type EnqueueRefusal,
  InvalidCursor,
  type LeaseCall,
  type ListQuery,
  type QueuePage,
  type QueueRecord,
  type RedriveOutcome,
  type RemoveOutcome,
  type SettleItem,
  type SettleOutcome,
  type Stamped,
  type Store,
  type StoreDescription,
  StoreError,
  StoreRefusal,
  type SweepReport,
  type TaskPage,
} from '../store.ts';
import { MAX_SHARDS, shardOfTaskId, TaskIdMint } from '../task-ids.ts';
import type { Grant } from '../../domain/task.ts';
import { encodeCall, encodeSettle, keyDigest } from './arguments.ts';
import { backoffText } from './backoff-text.ts';
import { RedisConnection } from './connection.ts';
import { Keyspace } from './keys.ts';
import * as replies from './replies.ts';
import { loadScripts, type Script, type ScriptName } from './scripts.ts';
import { readServerState, redactedLocation } from './server-state.ts';

const DATA_VERSION = 1;
/** Items in one script call; an enqueue to one queue may be larger. */
const MAX_ITEMS = 128;
/** Tasks moved by one sweep of a shard. */
const SWEEP_ITEMS = 128;
/** How often every shard is looked at, whatever is known to be due. */
const FULL_SWEEP_MS = 1000;
/** Tasks looked at, and bytes read, for one page of a list. */
const LIST_BUDGET = 2000;
const LIST_BYTES = 8_388_608;
const CONFIGURE_TRIES = 10;

export interface RedisStoreOptions {
  url: string;
  /** First part of every key. */
  prefix: string;
  /** Fixed when the data is first made. */
  shards: number;
  /** What the server itself is set to. */
  durability: 'default';
  log?: Logger;
  /** Lua that defines `clock()`; only for tests that must not wait for time. */
  clockInclude?: string;
}

/** The store on one Redis (or Valkey) server: lists, sorted sets and one script per operation. */
export class RedisStore implements Store {
  readonly shared = true;
  readonly #options: RedisStoreOptions;
  readonly #keys: Keyspace;
  readonly #connection: RedisConnection;
  readonly #scripts: Record<ScriptName, Script>;
  readonly #ids = new TaskIdMint();
  readonly #dueByShard: Float64Array;
  #clockOffset = Date.now() - performance.now();
  #lastFullSweep = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: RedisStoreOptions) {
    if (options.shards < 1 || options.shards > MAX_SHARDS) {
      throw new StoreRefusal(`the number of shards must be between 1 and ${MAX_SHARDS}`);
    }
    this.#options = options;
    this.#keys = new Keyspace(options.prefix, options.shards);
    this.#connection = new RedisConnection(options.url, options.log);
    this.#scripts = loadScripts(options.clockInclude);
    this.#dueByShard = new Float64Array(options.shards).fill(Number.POSITIVE_INFINITY);
  }

  async open(): Promise<void> {
    const location = redactedLocation(this.#options.url);
    try {
      await this.#connection.connect();
    } catch (error) {
      this.#connection.close();
      const reason = error instanceof Error ? error.message : String(error);
      throw new StoreRefusal(`Redis at ${location} cannot be reached: ${reason}; is it running, and is the URL right?`, {
        cause: error,
      });
    }
    try {
      await readServerState(this.#connection, location);
      await this.#openData(location);
    } catch (error) {
      this.#connection.close();
      throw error;
    }
  }

  async #openData(location: string): Promise<void> {
    const [, , marks] = replies.list(await this.#run('open-data', 0, [DATA_VERSION, this.#options.shards]));
    const [version, shards] = replies.list(marks).map(replies.number);
    if (version !== DATA_VERSION) {
      throw new StoreRefusal(
        `the data at ${location} under "${this.#options.prefix}" is of version ${version}, this Lessor reads version ${DATA_VERSION}: use the Lessor that wrote it, or another LESSOR_PREFIX`,
      );
    }
    if (shards !== this.#options.shards) {
      throw new StoreRefusal(
        `the data at ${location} under "${this.#options.prefix}" was made with ${shards} shards, not ${this.#options.shards}: set LESSOR_SHARDS=${shards}`,
      );
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#connection.close();
  }

  describe(): Promise<StoreDescription> {
    return readServerState(this.#connection, redactedLocation(this.#options.url));
  }

  async check(): Promise<void> {
    await this.#run('check', 0, []);
  }

  newTaskId(queue: string): string {
    return this.#ids.mint(this.#keys.shardOfQueue(queue), performance.now() + this.#clockOffset);
  }

  async enqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueOutcome>> {
    return this.#scatter(
      calls,
      (call) => this.#keys.shardOfQueue(call.queue),
      // A call is stored whole: calls share a script only as far as its bound allows.
      (call) => call.tasks.length,
      LIMITS.maxBatch,
      async (shard, group) => {
        const args: (string | number)[] = [group.length, LIMITS.idempotencyWindowMs];
        for (const call of group) encodeCall(call, args);
        return this.#call('enqueue', shard, args, (reply, now, index) => storedOutcome(reply, now, group[index]));
      },
    );
  }

  async checkKeys(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueRefusal | null>> {
    return this.#scatter(
      calls,
      (call) => this.#keys.shardOfQueue(call.queue),
      (call) => call.tasks.length,
      LIMITS.maxBatch,
      async (shard, group) => {
        const args: (string | number)[] = [group.length, LIMITS.idempotencyWindowMs];
        for (const { queue, tasks } of group) {
          args.push(queue, tasks.length);
          for (const { idempotency } of tasks) {
            args.push(idempotency === null ? '' : keyDigest(idempotency.key), idempotency?.fingerprint ?? '');
          }
        }
        return this.#call('check-keys', shard, args, (reply) => {
          const index = replies.number(reply);
          return index < 0 ? null : { outcome: 'idempotency_key_reused', index };
        });
      },
    );
  }

  async lease(calls: readonly LeaseCall[]): Promise<Stamped<readonly Grant[]>> {
    return this.#scatter(
      calls,
      (call) => this.#keys.shardOfQueue(call.queue),
      (call) => call.max,
      MAX_ITEMS,
      async (shard, group) => {
        const stale: LeaseCall[] = [];
        const args = [group.length, ...group.flatMap(({ queue, token, max, leaseMs, workerId }) => [queue, token, max, leaseMs ?? '', replies.encodeWorkerId(workerId)])];
        const stamped = await this.#call('lease', shard, args, (reply, _now, index) => {
          const call = group[index];
          const [tired, ...views] = replies.list(reply);
          if (call === undefined) throw new replies.UnexpectedReply('as many results as calls', reply);
          if (tired === 1 && views.length === 0) stale.push(call);
          return views.map((view): Grant => ({ task: replies.taskRecord(view), token: call.token }));
        });
        // Nothing was found yet, but only because cancelled tasks stood in front: each try clears some away.
        if (stale.length === 0) return stamped;
        const again = await this.lease(stale);
        return {
          now: again.now,
          dueAt: earlier(stamped.dueAt, again.dueAt),
          results: stamped.results.map((grants, index) => {
            const call = group[index];
            const at = call === undefined ? -1 : stale.indexOf(call);
            return at < 0 ? grants : (again.results[at] ?? []);
          }),
        };
      },
    );
  }

  async settle(items: readonly SettleItem[]): Promise<Stamped<SettleOutcome>> {
    return this.#byId(items, ({ id }) => id, { outcome: 'refused', code: 'task_not_found' }, (shard, group) => {
      const args: (string | number)[] = [group.length];
      for (const item of group) encodeSettle(item, args);
      return this.#call('settle', shard, args, settledOutcome);
    });
  }

  async cancel(items: readonly CancelItem[]): Promise<Stamped<CancelOutcome>> {
    return this.#byId(items, ({ id }) => id, { outcome: 'refused', code: 'task_not_found' }, (shard, group) =>
      this.#call(
        'cancel',
        shard,
        [group.length, ...group.flatMap(({ id, reason, force }) => [id, reason === null ? '' : `+${reason}`, force ? '1' : ''])],
        (reply): CancelOutcome => {
          const [outcome, detail] = replies.list(reply);
          if (outcome === 'refused') return { outcome, code: replies.problemCode(detail) };
          if (outcome !== 'cancelled' && outcome !== 'requested') throw new replies.UnexpectedReply('an outcome', reply);
          return { outcome, task: replies.taskRecord(detail) };
        },
      ),
    );
  }

  async redrive(ids: readonly string[]): Promise<Stamped<RedriveOutcome>> {
    return this.#byId(ids, (id) => id, { outcome: 'refused', code: 'task_not_found' }, (shard, group) =>
      this.#call('redrive', shard, group, (reply): RedriveOutcome => {
        const [outcome, detail] = replies.list(reply);
        if (outcome === 'refused') return { outcome, code: replies.problemCode(detail) };
        return { outcome: 'redriven', task: replies.taskRecord(detail) };
      }),
    );
  }

  async remove(ids: readonly string[]): Promise<Stamped<RemoveOutcome>> {
    return this.#byId(ids, (id) => id, { outcome: 'refused', code: 'task_not_found' }, (shard, group) =>
      this.#call('remove', shard, group, (reply): RemoveOutcome =>
        reply === '' ? { outcome: 'removed' } : { outcome: 'refused', code: replies.problemCode(reply) },
      ),
    );
  }

  async get(ids: readonly string[]): Promise<Stamped<TaskRecord | null>> {
    return this.#byId(ids, (id) => id, null, (shard, group) =>
      this.#call('get', shard, group, (reply) => (reply === '' ? null : replies.taskRecord(reply))),
    );
  }

  async list({ queue, state, type, limit, cursor }: ListQuery): Promise<TaskPage> {
    const shard = this.#keys.shardOfQueue(queue);
    const position = decodeCursor(cursor, state !== null && isTerminal(state) ? 'finished' : 'created');
    if (state !== null && isTerminal(state)) {
      const [at = '', id = ''] = position;
      const args = [queue, state, type ?? '', limit, at, id, LIST_BUDGET, LIST_BYTES];
      const [now, , page] = replies.list(await this.#run('list-finished', shard, args));
      const [next, views] = replies.list(page);
      return { now: replies.number(now), tasks: replies.list(views).map(replies.taskRecord), next: encodeCursor(replies.list(next), 'finished') };
    }
    const args = [queue, state ?? '', type ?? '', limit, position[0] ?? 0, LIST_BUDGET, LIST_BYTES];
    const [now, , page] = replies.list(await this.#run('list-created', shard, args));
    const [next, views] = replies.list(page);
    return {
      now: replies.number(now),
      tasks: replies.list(views).map(replies.taskRecord),
      next: encodeCursor(next === '' ? [] : [next], 'created'),
    };
  }

  async queues({ after, limit }: { after: string | null; limit: number }): Promise<QueuePage> {
    const shards = Array.from({ length: this.#keys.shards }, (_, shard) => shard);
    const pages = await Promise.all(shards.map((shard) => this.#run('queue-names', shard, [after ?? '', limit + 1])));
    const names = pages.flatMap((page) => replies.list(replies.list(page)[2]).map(replies.text)).sort(byBytes);
    const shown = names.slice(0, limit);
    const { now, results } = await this.#scatter(
      shown,
      (name) => this.#keys.shardOfQueue(name),
      () => 1,
      MAX_ITEMS,
      (shard, group) =>
        this.#call('queues', shard, group, (reply, _now, index) => replies.queueRecord(group[index] ?? '', reply)),
    );
    return {
      now,
      queues: results.filter((queue) => queue !== null),
      next: names.length > limit ? (shown.at(-1) ?? null) : null,
    };
  }

  async queue(name: string): Promise<{ now: number; queue: QueueRecord | null }> {
    const { now, results } = await this.#call('queues', this.#keys.shardOfQueue(name), [name], (reply) =>
      replies.queueRecord(name, reply),
    );
    return { now, queue: results[0] ?? null };
  }

  async configure(name: string, settings: QueueSettings, mode: 'replace' | 'merge'): Promise<ConfigureOutcome> {
    const shard = this.#keys.shardOfQueue(name);
    let known = mode === 'replace' ? '*' : '';
    for (let attempt = 0; attempt < CONFIGURE_TRIES; attempt++) {
      const next = known === '*' || known === '' ? settings : mergeQueueSettings(JSON.parse(known), settings);
      const args = [name, known, JSON.stringify(next), ...settingFields(next)];
      const [, , reply] = replies.list(await this.#run('configure', shard, args));
      const [outcome, current] = replies.list(reply);
      if (outcome === 'conflict') {
        known = replies.text(current);
        continue;
      }
      this.#expect(shard, 0);
      const { now, queue } = await this.queue(name);
      if (queue === null) throw new StoreError('unavailable', `queue ${name} was deleted while it was configured`);
      return { now, created: outcome === 'created', queue };
    }
    throw new StoreError('unavailable', `queue ${name} is being configured by too many others at once`);
  }

  async setPaused(name: string, paused: boolean): Promise<boolean> {
    const reply = await this.#run('set-paused', this.#keys.shardOfQueue(name), [name, paused ? '1' : '0']);
    return replies.list(reply)[2] === 1;
  }

  async purge(name: string, state: TaskState, limit: number): Promise<{ purged: number }> {
    const shard = this.#keys.shardOfQueue(name);
    let purged = 0;
    while (purged < limit) {
      const step = Math.min(MAX_ITEMS, limit - purged);
      const reply = replies.list(await this.#run('purge', shard, [name, state, step]));
      const [done, tired] = replies.list(reply[2]).map(replies.number);
      purged += done ?? 0;
      if (done !== step && tired !== 1) break;
    }
    return { purged };
  }

  async dropQueue(name: string): Promise<'deleted' | 'more' | 'not_empty' | 'not_found'> {
    const outcome = replies.list(await this.#run('drop-queue', this.#keys.shardOfQueue(name), [name, MAX_ITEMS]))[2];
    if (outcome === 'deleted' || outcome === 'more' || outcome === 'not_empty' || outcome === 'not_found') return outcome;
    throw new replies.UnexpectedReply('an outcome', outcome);
  }

  async sweep(): Promise<SweepReport> {
    const report = { now: 0, dueAt: null as number | null, promoted: 0, reclaimed: 0, expired: 0, pruned: 0, readied: new Set<string>() };
    await Promise.all(this.#dueShards().map((shard) => this.#sweepShard(shard, report)));
    if (report.now === 0) report.now = this.#now();
    for (const dueAt of this.#dueByShard) {
      if (dueAt !== Number.POSITIVE_INFINITY) report.dueAt = earlier(report.dueAt, dueAt);
    }
    return { ...report, readied: [...report.readied] };
  }

  async #sweepShard(shard: number, report: Omit<SweepReport, 'readied'> & { readied: Set<string> }): Promise<void> {
    // What other calls learn while this one is under way must not be forgotten.
    this.#dueByShard[shard] = Number.POSITIVE_INFINITY;
    try {
      const [now, , swept] = replies.list(await this.#run('sweep', shard, [SWEEP_ITEMS]));
      const [due, promoted, reclaimed, expired, pruned, names] = replies.list(swept);
      report.now = Math.max(report.now, replies.number(now));
      report.promoted += replies.number(promoted);
      report.reclaimed += replies.number(reclaimed);
      report.expired += replies.number(expired);
      report.pruned += replies.number(pruned);
      for (const name of replies.list(names)) report.readied.add(replies.text(name));
      const dueAt = maybe(due);
      if (dueAt !== null) this.#expect(shard, dueAt);
    } catch (error) {
      this.#expect(shard, 0);
      throw error;
    }
  }

  /** Shards in which something is known to be due, and every so often all of them, since others write too. */
  #dueShards(): number[] {
    const all = performance.now() - this.#lastFullSweep >= FULL_SWEEP_MS || this.#options.clockInclude !== undefined;
    if (all) this.#lastFullSweep = performance.now();
    const now = this.#now();
    return [...this.#dueByShard.keys()].filter((shard) => all || (this.#dueByShard[shard] ?? 0) <= now);
  }

  #now(): number {
    return Math.floor(performance.now() + this.#clockOffset);
  }

  #expect(shard: number, dueAt: number): void {
    if (dueAt < (this.#dueByShard[shard] ?? Number.POSITIVE_INFINITY)) this.#dueByShard[shard] = dueAt;
  }

  async #run(name: ScriptName, shard: number, args: readonly (string | number)[]): Promise<unknown> {
    if (this.#closed) throw new StoreError('closed', 'the store is closed');
    return this.#connection.run(this.#scripts[name], this.#keys.base(shard), args);
  }

  /** Runs a script that answers {now, due, results} and decodes each result. */
  async #call<Result>(
    name: ScriptName,
    shard: number,
    args: readonly (string | number)[],
    decode: (reply: unknown, now: number, index: number) => Result,
  ): Promise<Stamped<Result>> {
    const [nowReply, due, results] = replies.list(await this.#run(name, shard, args));
    const now = replies.number(nowReply);
    this.#clockOffset = now - performance.now();
    const dueAt = maybe(due);
    if (dueAt !== null) this.#expect(shard, dueAt);
    return { now, dueAt, results: replies.list(results).map((reply, index) => decode(reply, now, index)) };
  }

  /** Items that name a task; an id that no store has minted is answered without asking. */
  async #byId<Item, Result>(
    items: readonly Item[],
    idOf: (item: Item) => string,
    unknown: Result,
    call: (shard: number, group: readonly Item[]) => Promise<Stamped<Result>>,
  ): Promise<Stamped<Result>> {
    const shardOf = (item: Item) => {
      const shard = shardOfTaskId(idOf(item));
      return shard !== null && shard < this.#keys.shards ? shard : null;
    };
    return this.#scatter(items, shardOf, () => 1, MAX_ITEMS, call, unknown);
  }

  /**
   * Splits items over shards and bounded script calls, in order, and puts the results back in the items' order. The
   * calls are sent together; where one fails the whole does, since its outcome is not known.
   */
  async #scatter<Item, Result>(
    items: readonly Item[],
    shardOf: (item: Item) => number | null,
    weightOf: (item: Item) => number,
    maxWeight: number,
    call: (shard: number, group: readonly Item[]) => Promise<Stamped<Result>>,
    unknown?: Result,
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
      const weight = weightOf(item);
      let group = open.get(shard);
      if (!group || group.weight + weight > maxWeight || group.items.length >= MAX_ITEMS) {
        group = { shard, weight: 0, items: [], indexes: [] };
        groups.push(group);
        open.set(shard, group);
      }
      group.weight += weight;
      group.items.push(item);
      group.indexes.push(index);
    }
    const replied = await Promise.all(groups.map((group) => call(group.shard, group.items)));
    let now = groups.length === 0 ? this.#now() : 0;
    let dueAt: number | null = null;
    for (const [at, reply] of replied.entries()) {
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
}

function earlier(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}

const maybe = replies.maybeNumber;

function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function storedOutcome(reply: unknown, now: number, call: EnqueueCall | undefined): EnqueueOutcome {
  const [outcome, detail, ...stored] = replies.list(reply);
  if (outcome === 'reused') return { outcome: 'idempotency_key_reused', index: replies.number(detail) };
  if (call === undefined || stored.length !== call.tasks.length) throw new replies.UnexpectedReply('a task per entry', reply);
  const maxAttempts = replies.number(detail);
  return {
    outcome: 'stored',
    tasks: call.tasks.map((task, index) => {
      const result = stored[index];
      if (typeof result === 'number') {
        return { task: replies.freshRecord(call.queue, task, now, result, maxAttempts), replayed: false };
      }
      const [how, what] = replies.list(result);
      if (how === 'pruned') {
        return { task: replies.prunedRecord(call.queue, task, replies.text(what), maxAttempts), replayed: true };
      }
      return { task: replies.taskRecord(what), replayed: how === 'replayed' };
    }),
  };
}

function settledOutcome(reply: unknown): SettleOutcome {
  const [outcome, first, second, attempt, late, replayed, runAt, deadline, cancelRequested] = replies.text(reply).split('|');
  if (outcome === 'refused') {
    const code = replies.problemCode(first);
    return second === undefined || second === '' ? { outcome, code } : { outcome, code, readied: second };
  }
  return {
    outcome: 'settled',
    queue: replies.text(first),
    state: replies.taskState(second),
    attempt: replies.number(attempt),
    late: late === '1',
    replayed: replayed === '1',
    runAt: replies.number(runAt),
    leaseExpiresAt: maybe(deadline),
    cancelRequested: cancelRequested === '1',
  };
}

/** Settings as fields of the queue's hash, '' for what follows the default. */
function settingFields(settings: QueueSettings): (string | number)[] {
  const { leaseMs, maxAttempts, backoff, retention } = settings;
  return [
    'leaseMs',
    leaseMs ?? '',
    'maxAttempts',
    maxAttempts ?? '',
    'backoff',
    backoff === undefined ? '' : backoffText({ ...DEFAULT_BACKOFF, ...backoff }),
    'completedMs',
    retention?.completedMs ?? '',
    'completedMax',
    retention?.completedMax ?? '',
    'deadMs',
    retention?.deadMs ?? '',
  ];
}

function encodeCursor(position: readonly unknown[], kind: 'created' | 'finished'): string | null {
  if (position.length === 0) return null;
  return Buffer.from(JSON.stringify([kind, ...position.map(String)])).toString('base64url');
}

/** @throws InvalidCursor when this store has not made it for such a list */
function decodeCursor(cursor: string | null, kind: 'created' | 'finished'): string[] {
  if (cursor === null) return [];
  let decoded: unknown;
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw new InvalidCursor();
  }
  const [made, at, id, ...rest] = Array.isArray(decoded) ? decoded : [];
  if (made !== kind || typeof at !== 'string' || !/^\d{1,16}$/.test(at) || rest.length > 0) throw new InvalidCursor();
  if (kind === 'created' && id === undefined) return [at];
  if (kind === 'finished' && typeof id === 'string' && shardOfTaskId(id) !== null) return [at, id];
  throw new InvalidCursor();
}
