import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { JSON_NULL, type JsonText } from '../../src/domain/json-text.ts';
import type { Finding } from '../../src/store/census.ts';
import { LIMITS } from '../../src/domain/limits.ts';
import type { Grant, NewTask, TaskRecord, TaskState } from '../../src/domain/task.ts';
import type {
  CancelOutcome,
  EnqueueOutcome,
  LeaseCall,
  ListQuery,
  QueueRecord,
  SettleItem,
  SettleOutcome,
  Store,
} from '../../src/store/store.ts';
import type { OpenStore } from '../support/store-harness.ts';

/** A rule of the contract: its words, and the check of it on a store of its own. */
type Rule = (words: string, check: (bench: Workbench) => Promise<void>) => void;

/** Rules that belong together. */
export interface Theme {
  name: string;
  rules(rule: Rule): void;
}

/** What settles are addressed by; a {@link Grant} can be had as one by {@link held}. */
export interface Claim {
  id: string;
  token: string;
}

type Part<Verb extends SettleItem['verb']> = Partial<
  Omit<Extract<SettleItem, { verb: Verb }>, 'id' | 'token' | 'verb'>
>;

export const json = (value: unknown): JsonText => JSON.stringify(value) as JsonText;

export const held = (grant: Grant): Claim => ({ id: grant.task.id, token: grant.token });

/** A store under test with short words for what the rules do to it. Tasks go to the queue `q` when not said. */
export class Workbench {
  readonly #open: OpenStore;

  constructor(open: OpenStore) {
    this.#open = open;
  }

  get store(): Store {
    return this.#open.store;
  }

  now(): number {
    return this.#open.now();
  }

  advance(ms: number): Promise<void> {
    return this.#open.advance(ms);
  }

  /** Names of what is stored beyond the records of queues. */
  stored(): Promise<string[]> {
    return this.#open.stored();
  }

  /** What a census finds. */
  findings(): Promise<Finding[]> {
    return this.#open.findings();
  }

  reopen(): Promise<void> {
    return this.#open.reopen();
  }

  close(): Promise<void> {
    return this.#open.close();
  }

  /** A task to be stored, plain but for `parts`. */
  task(parts: Partial<NewTask> = {}, queue = 'q'): NewTask {
    return {
      id: this.store.newTaskId(queue),
      type: null,
      payload: JSON_NULL,
      priority: 4,
      delayMs: null,
      runAt: null,
      ttlMs: null,
      leaseMs: null,
      maxAttempts: null,
      backoff: null,
      tags: [],
      metadata: {},
      trace: null,
      unique: null,
      groupKey: null,
      retentionMs: null,
      idempotency: null,
      ...parts,
    };
  }

  /** Stores one task and answers it. */
  async put(parts: Partial<NewTask> = {}, queue = 'q'): Promise<TaskRecord> {
    return only(await this.putAll([parts], queue));
  }

  /** Stores tasks in one call and answers them. */
  async putAll(parts: readonly Partial<NewTask>[], queue = 'q'): Promise<TaskRecord[]> {
    const outcome = await this.enqueue(
      parts.map((part) => this.task(part, queue)),
      queue,
    );
    assert.equal(outcome.outcome, 'stored');
    return outcome.outcome === 'stored' ? outcome.tasks.map(({ task }) => task) : [];
  }

  async enqueue(tasks: readonly NewTask[], queue = 'q'): Promise<EnqueueOutcome> {
    return only((await this.store.enqueue([{ queue, tasks }])).results);
  }

  /** Leases up to `max` tasks (1 when not said), with a token of their own. */
  async lease(
    options: { max?: number; leaseMs?: number; workerId?: string; token?: string; requestId?: string } = {},
    queue = 'q',
  ): Promise<readonly Grant[]> {
    return only((await this.store.lease([leaseOf(options, queue)])).results);
  }

  /** The leases that still run of earlier calls with a request id. */
  async recall(requestId: string, queue = 'q'): Promise<readonly Grant[]> {
    return only((await this.store.recall([{ queue, requestId }])).results);
  }

  async disown(requestId: string, token: string, queue = 'q'): Promise<boolean> {
    return only((await this.store.disown([{ queue, requestId, token }])).results);
  }

  /** Leases the one task that must be there. */
  async take(options: { leaseMs?: number; workerId?: string; token?: string } = {}, queue = 'q'): Promise<Grant> {
    return only(await this.lease({ ...options, max: 1 }, queue));
  }

  /** Stores a task and leases it. */
  async putAndTake(parts: Partial<NewTask> = {}, queue = 'q'): Promise<Claim & { task: TaskRecord }> {
    const { id } = await this.put(parts, queue);
    const grant = await this.take({}, queue);
    assert.equal(grant.task.id, id);
    return { id, token: grant.token, task: grant.task };
  }

  /** The ids of all ready tasks, in the order in which they are granted; it leases them. */
  async drain(queue = 'q'): Promise<string[]> {
    const ids: string[] = [];
    for (let grants = await this.lease({ max: 100 }, queue); grants.length > 0; ) {
      ids.push(...grants.map(({ task }) => task.id));
      grants = await this.lease({ max: 100 }, queue);
    }
    return ids;
  }

  async settle(item: SettleItem): Promise<SettleOutcome> {
    return only((await this.store.settle([item])).results);
  }

  ack(claim: Claim, part: Part<'ack'> = {}): Promise<SettleOutcome> {
    return this.settle(ackOf(claim, part));
  }

  nack(claim: Claim, part: Part<'nack'> = {}): Promise<SettleOutcome> {
    return this.settle(nackOf(claim, part));
  }

  release(claim: Claim, part: Part<'release'> = {}): Promise<SettleOutcome> {
    return this.settle(releaseOf(claim, part));
  }

  heartbeat(claim: Claim, part: Part<'heartbeat'> = {}): Promise<SettleOutcome> {
    return this.settle(heartbeatOf(claim, part));
  }

  async cancel(id: string, part: { reason?: string; force?: boolean } = {}): Promise<CancelOutcome> {
    const { reason = null, force = false } = part;
    return only((await this.store.cancel([{ id, reason, force }])).results);
  }

  async redrive(id: string): Promise<TaskRecord> {
    const outcome = only((await this.store.redrive([id])).results);
    assert.equal(outcome.outcome, 'redriven');
    if (outcome.outcome !== 'redriven') throw new Error('not redriven');
    return outcome.task;
  }

  /** The task as it is stored now; it must be there. */
  async get(id: string): Promise<TaskRecord> {
    const task = await this.find(id);
    assert.notEqual(task, null, `task ${id} should exist`);
    if (!task) throw new Error('no task');
    return task;
  }

  async find(id: string): Promise<TaskRecord | null> {
    return only((await this.store.get([id])).results);
  }

  async state(id: string): Promise<TaskState | null> {
    return (await this.find(id))?.state ?? null;
  }

  async queue(name = 'q'): Promise<QueueRecord> {
    const { queue } = await this.store.queue(name);
    if (!queue) throw new assert.AssertionError({ message: `queue ${name} should exist` });
    return queue;
  }

  /** Sweeps until nothing is due, and adds the reports up. */
  async sweep(): Promise<Swept> {
    return sweepAll(this.store);
  }

  /** Lets time pass and sweeps. */
  async pass(ms: number): Promise<Swept> {
    await this.advance(ms);
    return this.sweep();
  }

  /** All pages of a listing. */
  async list(part: Partial<ListQuery> = {}): Promise<TaskRecord[]> {
    return listAll(this.store, { queue: 'q', state: null, type: null, limit: 1000, ...part });
  }

  /** A task in each state, made in this order: its id by state. */
  async oneOfEach(queue = 'q'): Promise<Record<Exclude<TaskState, 'blocked'>, string>> {
    const completed = await this.putAndTake({}, queue);
    await this.ack(completed);
    const dead = await this.putAndTake({}, queue);
    await this.nack(dead, { retryable: false });
    const expired = await this.put({ ttlMs: 1 }, queue);
    await this.pass(1);
    const cancelled = await this.put({}, queue);
    await this.cancel(cancelled.id);
    const leased = await this.putAndTake({}, queue);
    const ready = await this.put({}, queue);
    const scheduled = await this.put({ delayMs: 1000 }, queue);
    return {
      completed: completed.id,
      dead: dead.id,
      expired: expired.id,
      cancelled: cancelled.id,
      leased: leased.id,
      ready: ready.id,
      scheduled: scheduled.id,
    };
  }
}

/** A lease call of one task under a token of its own, but for what is said. */
export function leaseOf(part: { [Key in keyof LeaseCall]?: LeaseCall[Key] } = {}, queue = 'q'): LeaseCall {
  return { queue, token: randomUUID(), max: 1, leaseMs: null, workerId: null, requestId: null, ...part };
}

/** The parts of a settle that a test does not care about. */
export function ackOf(claim: Claim, part: Part<'ack'> = {}): SettleItem {
  return { id: claim.id, token: claim.token, verb: 'ack', result: null, ...part };
}

export function nackOf(claim: Claim, part: Part<'nack'> = {}): SettleItem {
  const { id, token } = claim;
  return { id, token, verb: 'nack', error: null, retryable: true, delayMs: null, random: 0, ...part };
}

export function releaseOf(claim: Claim, part: Part<'release'> = {}): SettleItem {
  return { id: claim.id, token: claim.token, verb: 'release', delayMs: null, ...part };
}

export function heartbeatOf(claim: Claim, part: Part<'heartbeat'> = {}): SettleItem {
  return {
    ...{ id: claim.id, token: claim.token, verb: 'heartbeat', leaseMs: null, maxRuntimeMs: LIMITS.maxRuntimeMs },
    ...{ progress: null, checkpoint: null, ...part },
  };
}

/** What sweeps did until nothing was due. */
export interface Swept {
  promoted: number;
  reclaimed: number;
  expired: number;
  pruned: number;
  readied: string[];
  /** When the next one is due. */
  dueAt: number | null;
}

/** No rule leaves more to do than this many steps. */
const MAX_STEPS = 10_000;

export async function sweepAll(store: Store): Promise<Swept> {
  const sum = { promoted: 0, reclaimed: 0, expired: 0, pruned: 0 };
  const readied = new Set<string>();
  for (let step = 0; step < MAX_STEPS; step++) {
    const report = await store.sweep();
    sum.promoted += report.promoted;
    sum.reclaimed += report.reclaimed;
    sum.expired += report.expired;
    sum.pruned += report.pruned;
    for (const queue of report.readied) readied.add(queue);
    if (report.dueAt === null || report.dueAt > report.now) {
      return { ...sum, readied: [...readied].sort(), dueAt: report.dueAt };
    }
  }
  throw new Error(`still something due after ${MAX_STEPS} sweeps`);
}

export async function listAll(store: Store, query: Omit<ListQuery, 'cursor'>): Promise<TaskRecord[]> {
  const tasks: TaskRecord[] = [];
  for (let cursor: string | null = null, page = 0; page < MAX_STEPS; page++) {
    const { tasks: found, next } = await store.list({ ...query, cursor });
    assert.ok(found.length <= query.limit, `a page of ${found.length} tasks, of at most ${query.limit}`);
    tasks.push(...found);
    if (next === null) return tasks;
    assert.notEqual(next, cursor, 'a listing that does not advance');
    cursor = next;
  }
  throw new Error(`a listing without an end after ${MAX_STEPS} pages`);
}

/** The one item there must be. */
export function only<Item>(items: readonly Item[]): Item {
  assert.equal(items.length, 1);
  const [item] = items;
  if (item === undefined) throw new Error('no item');
  return item;
}

/** The same words for a store that goes by a real clock, and that whoever opened it closes. */
export function realTimeBench(store: Store): Workbench {
  const refuse = async (): Promise<never> => {
    throw new Error('only for a store whose clock the test moves');
  };
  const open = {
    store,
    now: Date.now,
    advance: refuse,
    reopen: refuse,
    close: refuse,
    stored: refuse,
    findings: refuse,
  };
  return new Workbench(open);
}
