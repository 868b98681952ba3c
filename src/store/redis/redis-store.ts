import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { LIMITS } from '../../domain/limits.ts';
import type { QueueSettings } from '../../domain/queue.ts';
import type { Grant, TaskRecord, TaskState } from '../../domain/task.ts';
import {
  type CancelItem,
  type CancelOutcome,
  type ConfigureOutcome,
  type CreateOperationOutcome,
  type DeadCount,
  type DeadQuery,
  type DisownCall,
  type EnqueueCall,
  type EnqueueOutcome,
  type EnqueueRefusal,
  type Granted,
  type LeaseCall,
  type ListQuery,
  type NewOperation,
  type OperationRecord,
  type OperationStep,
  type OperationStepped,
  type QueuePage,
  type QueueRecord,
  type RecallCall,
  type RedriveOutcome,
  type RemoveOutcome,
  type SettleItem,
  type SettleOutcome,
  type Stamped,
  type Store,
  type StoreDescription,
  type StoreMemory,
  StoreRefusal,
  type SweepReport,
  type TaskPage,
} from '../store.ts';
import { MAX_SHARDS, TaskIdMint } from '../task-ids.ts';
import { encodeCall, encodeSettle, encodeTry, keyDigest } from './arguments.ts';
import { DATA_VERSION, otherVersion } from './data-version.ts';
import { type RedisDurability, replicasOf } from './durability.ts';
import { DurabilityWatch } from './durability-watch.ts';
import { Keyspace } from './keys.ts';
import { loadLibrary } from './library.ts';
import { list } from './listing.ts';
import { type Credentials, type RedisLocation, readLocation } from './location.ts';
import { RedisLeases } from './leases.ts';
import { LostLeases } from './lost-leases.ts';
import { RedisOperations } from './operations.ts';
import {
  cancelOutcome,
  triedOutcome,
  redriveOutcome,
  removeOutcome,
  settledOutcome,
  storedOutcome,
} from './outcomes.ts';
import { RedisQueues } from './queues.ts';
import * as replies from './replies.ts';
import { Servers } from './servers.ts';
import { operation, Shards } from './shards.ts';
import { Sweeps } from './sweeps.ts';
import type { TlsMaterial } from './tls.ts';
import { makeTopology, type Topology } from './topology.ts';
import { RedisWakes } from './wakes.ts';

const UNKNOWN_TASK = { outcome: 'refused', code: 'task_not_found' } as const;

export interface RedisStoreOptions {
  url: string;
  /** First part of every key. */
  prefix: string;
  /** Fixed when the data is first made. */
  shards: number;
  durability: RedisDurability;
  /** For URLs that begin with `rediss`. */
  tls?: TlsMaterial;
  /** For the Sentinels, where they want any. */
  sentinels?: Credentials;
  log?: Logger;
  /** Lua that defines `clock()`; only for tests that must not wait for time. */
  clockInclude?: string;
}

/** The store on Redis or Valkey, on one server, behind Sentinels or on a cluster: lists, sorted sets and one Lua function per operation. */
export class RedisStore implements Store {
  readonly shared = true;
  readonly wakes: RedisWakes;
  readonly #options: RedisStoreOptions;
  readonly #location: RedisLocation;
  readonly #topology: Topology;
  readonly #servers: Servers;
  readonly #watch: DurabilityWatch;
  readonly #shards: Shards;
  readonly #ids = new TaskIdMint();
  readonly #lostLeases: LostLeases;
  readonly #leases: RedisLeases;
  readonly #queues: RedisQueues;
  readonly #operations: RedisOperations;
  readonly #sweeps: Sweeps;

  constructor(options: RedisStoreOptions) {
    if (options.shards < 1 || options.shards > MAX_SHARDS) {
      throw new StoreRefusal(`the number of shards must be between 1 and ${MAX_SHARDS}`);
    }
    this.#options = options;
    const { url, tls = {}, sentinels, log } = options;
    const replicas = replicasOf(options.durability);
    this.#location = readLocation(url, tls, sentinels);
    const keys = new Keyspace(options.prefix, options.shards);
    this.#topology = makeTopology({
      location: this.#location,
      library: loadLibrary(options.clockInclude),
      replicas,
      log,
      bases: keys.bases,
      onReady: () => void this.#watch.look(),
    });
    this.#servers = new Servers({
      ...{ topology: this.#topology, location: this.#location, replicas, log },
      check: () => this.check(),
    });
    this.#watch = new DurabilityWatch({ read: () => this.#servers.look(), location: this.#location.shown, log });
    const { connection, subscriber } = this.#topology;
    const origin = randomBytes(9).toString('base64url');
    const virtualClock = options.clockInclude !== undefined;
    this.#shards = new Shards({ connection, keys, origin, virtualClock });
    this.wakes = new RedisWakes({
      subscriber,
      keys,
      origin,
      watchQueue: async (queue, forMs) => {
        await this.#shards.ask('watch-queue', keys.shardOfQueue(queue), [queue, forMs]);
      },
    });
    this.#operations = new RedisOperations(this.#shards, (queue) => this.newTaskId(queue));
    this.#queues = new RedisQueues(this.#shards);
    this.#sweeps = new Sweeps(this.#shards);
    this.#lostLeases = new LostLeases({
      shards: this.#shards,
      settle: (items) => this.settle(items),
      onReadied: (queue) => this.wakes.wakeAll(queue),
    });
    this.#leases = new RedisLeases(this.#shards, this.#lostLeases);
  }

  async open(): Promise<void> {
    try {
      const state = await this.#servers.open();
      await this.#openData(this.#location.shown);
      await this.#servers.tidy();
      this.#watch.start(state);
    } catch (error) {
      this.#topology.close();
      throw error;
    }
  }

  async #openData(location: string): Promise<void> {
    const { prefix, shards } = this.#options;
    const { result } = await this.#shards.ask('open-data', 0, [DATA_VERSION, shards]);
    const [version, made] = replies.list(result).map(replies.number);
    if (version !== DATA_VERSION) throw otherVersion(`${location} under "${prefix}"`, version ?? 0);
    if (made !== shards) {
      throw new StoreRefusal(
        `the data at ${location} under "${prefix}" was made with ${made} shards, not ${shards}: set LESSOR_SHARDS=${made}`,
      );
    }
  }

  async close(): Promise<void> {
    this.#watch.close();
    this.#lostLeases.close();
    this.#shards.close();
    this.wakes.close();
    this.#topology.close();
  }

  async describe(): Promise<StoreDescription> {
    const now = await this.#servers.look();
    this.#watch.note(now);
    return now;
  }

  memory(): Promise<StoreMemory> {
    return this.#servers.memory();
  }

  /** Redis itself makes copies of what it holds. */
  async backup(): Promise<null> {
    return null;
  }

  /** On a cluster every shard is asked, since each may be on its own. */
  async check(): Promise<void> {
    const shards = this.#location.kind === 'cluster' ? this.#shards.keys.shards : 1;
    await Promise.all(Array.from({ length: shards }, (_, shard) => this.#shards.ask('check', shard, [])));
  }

  newTaskId(queue: string): string {
    return this.#ids.mint(this.#shards.keys.shardOfQueue(queue), this.#shards.now());
  }

  enqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueOutcome>> {
    return this.#shards.byQueue(this.#enqueue, calls, ({ queue }) => queue);
  }

  readonly #enqueue = operation<EnqueueCall, EnqueueOutcome>(
    (part, calls) => {
      const args: (string | number)[] = [calls.length, LIMITS.idempotencyWindowMs];
      for (const call of calls) encodeCall(call, args);
      return this.#shards.askEach('enqueue', part, args, (reply, index, now) =>
        storedOutcome(reply, calls[index], now),
      );
    },
    { maxWeight: LIMITS.maxBatch, weightOf: ({ tasks }) => tasks.length },
  );

  tryEnqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueRefusal | null>> {
    return this.#shards.byQueue(this.#tryEnqueue, calls, ({ queue }) => queue);
  }

  readonly #tryEnqueue = operation<EnqueueCall, EnqueueRefusal | null>(
    (part, calls) => {
      const args: (string | number)[] = [calls.length, LIMITS.idempotencyWindowMs];
      for (const call of calls) encodeTry(call, args);
      return this.#shards.askEach('try-enqueue', part, args, triedOutcome);
    },
    { maxWeight: LIMITS.maxBatch, weightOf: ({ tasks }) => tasks.length },
  );

  lease(calls: readonly LeaseCall[]): Promise<Granted> {
    return this.#leases.lease(calls);
  }

  recall(calls: readonly RecallCall[]): Promise<Stamped<readonly Grant[]>> {
    return this.#shards.byQueue(this.#recall, calls, ({ queue }) => queue);
  }

  readonly #recall = operation<RecallCall, readonly Grant[]>((part, calls) =>
    this.#shards.askEach(
      'recall',
      part,
      calls.flatMap(({ queue, requestId }) => [queue, keyDigest(requestId)]),
      (reply) => replies.list(reply).map(replies.grant),
    ),
  );

  disown(calls: readonly DisownCall[]): Promise<Stamped<boolean>> {
    return this.#shards.byQueue(this.#disown, calls, ({ queue }) => queue);
  }

  readonly #disown = operation<DisownCall, boolean>((part, calls) =>
    this.#shards.askEach(
      'disown',
      part,
      calls.flatMap(({ queue, requestId, token }) => [queue, keyDigest(requestId), token]),
      (reply) => replies.number(reply) === 1,
    ),
  );

  settle(items: readonly SettleItem[]): Promise<Stamped<SettleOutcome>> {
    return this.#shards.byId(this.#settle, items, ({ id }) => id, UNKNOWN_TASK);
  }

  readonly #settle = operation<SettleItem, SettleOutcome>((part, items) => {
    const args: (string | number)[] = [items.length];
    for (const item of items) encodeSettle(item, args);
    return this.#shards.askEach('settle', part, args, settledOutcome);
  });

  cancel(items: readonly CancelItem[]): Promise<Stamped<CancelOutcome>> {
    return this.#shards.byId(this.#cancel, items, ({ id }) => id, UNKNOWN_TASK);
  }

  readonly #cancel = operation<CancelItem, CancelOutcome>((part, items) => {
    const args: (string | number)[] = [items.length];
    for (const { id, reason, force } of items) args.push(id, reason === null ? '' : `+${reason}`, force ? '1' : '');
    return this.#shards.askEach('cancel', part, args, cancelOutcome);
  });

  redrive(ids: readonly string[]): Promise<Stamped<RedriveOutcome>> {
    return this.#shards.byId(this.#redrive, ids, (id) => id, UNKNOWN_TASK);
  }

  readonly #redrive = operation<string, RedriveOutcome>((part, ids) =>
    // Redriven twice is refused the second time: whoever asked must not be told so by a lost reply.
    this.#shards.askEach('redrive', part, ids, redriveOutcome, null),
  );

  remove(ids: readonly string[]): Promise<Stamped<RemoveOutcome>> {
    return this.#shards.byId(this.#remove, ids, (id) => id, UNKNOWN_TASK);
  }

  readonly #remove = operation<string, RemoveOutcome>((part, ids) =>
    this.#shards.askEach('remove', part, ids, removeOutcome, null),
  );

  get(ids: readonly string[]): Promise<Stamped<TaskRecord | null>> {
    return this.#shards.byId(this.#get, ids, (id) => id, null);
  }

  readonly #get = operation<string, TaskRecord | null>((part, ids) =>
    this.#shards.askEach('get', part, ids, (reply) => (reply === '' ? null : replies.taskRecord(reply))),
  );

  list(query: ListQuery): Promise<TaskPage> {
    return list(this.#shards, query);
  }

  queues(query: { after: string | null; limit: number }): Promise<QueuePage> {
    return this.#queues.page(query);
  }

  queue(name: string): Promise<{ now: number; queue: QueueRecord | null }> {
    return this.#queues.get(name);
  }

  configure(name: string, settings: QueueSettings, mode: 'replace' | 'merge'): Promise<ConfigureOutcome> {
    return this.#queues.configure(name, settings, mode);
  }

  setPaused(name: string, paused: boolean): Promise<boolean> {
    return this.#queues.setPaused(name, paused);
  }

  purge(name: string, state: TaskState, limit: number): Promise<{ purged: number }> {
    return this.#queues.purge(name, state, limit);
  }

  dropQueue(name: string): Promise<'deleted' | 'more' | 'not_empty' | 'not_found'> {
    return this.#queues.drop(name);
  }

  countDead(query: DeadQuery): Promise<DeadCount> {
    return this.#operations.countDead(query);
  }

  createOperations(operations: readonly NewOperation[]): Promise<Stamped<CreateOperationOutcome>> {
    return this.#operations.create(operations);
  }

  operations(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#operations.get(ids);
  }

  stepOperations(steps: readonly OperationStep[]): Promise<Stamped<OperationStepped | null>> {
    return this.#operations.step(steps);
  }

  cancelOperations(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#operations.cancel(ids);
  }

  forgetOperations(ids: readonly string[]): Promise<Stamped<boolean>> {
    return this.#operations.forget(ids);
  }

  runningOperations(): Promise<readonly OperationRecord[]> {
    return this.#operations.running();
  }

  sweep(): Promise<SweepReport> {
    return this.#sweeps.step();
  }
}
