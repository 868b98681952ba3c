import assert from 'node:assert/strict';
import type { JsonText } from '../../src/domain/json-text.ts';
import { isTerminal, type NewTask, TASK_STATES, type TaskRecord, type TaskState } from '../../src/domain/task.ts';
import type {
  EnqueueCall,
  HeldQueue,
  LeaseCall,
  QueueRecord,
  SettleItem,
  Stamped,
  Store,
} from '../../src/store/store.ts';
import { listAll, sweepAll } from '../contract/workbench.ts';
import type { OpenStore } from '../support/store-harness.ts';
import { type Command, QUEUES, type SettleSpec, type Target, type TaskSpec } from './commands.ts';
import { ModelStore } from './model-store.ts';

/** The pick that means a task that was never stored. */
const UNKNOWN_PICK = 15;

let minted = 0;

/**
 * An id where the store would put the queue, behind all ids before it. Those that a store mints sort by its clock, which
 * two processes, or a store opened anew, may read a moment apart; where tasks end in the same millisecond that would show.
 */
function nextId(store: Store, queue: string): string {
  const id = store.newTaskId(queue);
  return id.slice(0, 2) + String(++minted).padStart(id.length - 2, '0');
}

/**
 * A store and the model doing the same, step by step: every answer must be equal. The store may have been used before,
 * as long as nothing is left in it.
 */
export class Lockstep {
  readonly #open: OpenStore;
  readonly #model: ModelStore;
  readonly #queues: readonly string[];
  readonly #tasks: NewTask[] = [];
  readonly #claims: { id: string; token: string }[] = [];
  readonly #queueOf = new Map<string, string>();
  readonly #unknownId: string;
  #tokens = 0;
  /** When this process knows of something to do, as the reaper would gather it from the replies. */
  #knownDue = Number.POSITIVE_INFINITY;
  #examined = false;

  /**
   * @param name of this sequence, so that its queues are new
   * @param met told which rules were used
   */
  constructor(open: OpenStore, name: string, met: (path: string) => void) {
    this.#open = open;
    this.#model = new ModelStore({ clock: () => open.now(), met });
    this.#queues = Array.from({ length: QUEUES }, (_, number) => `${name}-${number}`);
    this.#unknownId = open.store.newTaskId(`${name}-0`);
  }

  /** @param examined whether a census looks at what the commands have left, and at redrives under way */
  async run(commands: readonly Command[], examined: boolean): Promise<void> {
    this.#examined = examined;
    for (const [index, command] of commands.entries()) {
      try {
        await this.#step(command);
        this.#nothingForgotten();
      } catch (error) {
        throw new Error(`step ${index}, ${JSON.stringify(command)}: ${message(error)}`, { cause: error });
      }
    }
    await this.#agree();
    if (examined) assert.deepEqual(await this.#open.findings(), [], 'what a census finds');
    await sweepAll(this.#store);
    await this.#model.sweep();
    for (const queue of this.#queues) {
      if (!(await this.#record(queue))) continue;
      await this.#equal((store) => store.queue(queue));
      await this.#list(queue, null);
      await this.#drain(queue);
      await this.#clear(queue);
    }
    await this.#nothingLeft();
  }

  get #store(): Store {
    return this.#open.store;
  }

  async #step(command: Command): Promise<void> {
    switch (command.do) {
      case 'enqueue':
      case 'tryEnqueue': {
        const calls = command.calls.map(({ queue, tasks }) => this.#enqueueCall(this.#queue(queue), tasks));
        await this.#same((store) => store[command.do](calls) as Promise<Stamped<unknown>>);
        return;
      }
      case 'lease':
        return this.#lease(
          command.calls.map(({ queue, max, leaseMs, request }) => ({
            ...{ queue: this.#queue(queue), token: `t${++this.#tokens}`, max, requestId: request },
            // A store may forget what a call was granted when its leases would have run out by a clock of its own.
            leaseMs: request === null ? leaseMs : 30_000,
            workerId: max > 1 ? `w${max}` : null,
          })),
        );
      case 'recall': {
        const calls = command.calls.map(({ queue, request }) => ({ queue: this.#queue(queue), requestId: request }));
        await this.#same((store) => store.recall(calls));
        return;
      }
      case 'settle': {
        const items = command.items.map((spec) => this.#settleItem(spec));
        await this.#same((store) => store.settle(items));
        return;
      }
      case 'cancel': {
        const items = command.items.map(({ target, ...rest }) => ({ id: this.#id(target), ...rest }));
        await this.#same((store) => store.cancel(items));
        return;
      }
      case 'redrive':
      case 'remove':
      case 'get': {
        const ids = command.targets.map((target) => this.#id(target));
        await this.#same((store) => store[command.do](ids) as Promise<Stamped<unknown>>);
        return;
      }
      case 'advance':
        return this.#open.advance(command.ms);
      case 'advanceTo': {
        const time = command.what === 'ttl' ? this.#model.nextTtlOfLeased() : this.#model.nextDue();
        const now = this.#open.now();
        await this.#open.advance(Math.max(0, (time ?? now) + command.plus - now));
        if (command.sweep) await this.#sweep();
        return;
      }
      case 'sweep':
        return this.#sweep();
      case 'pause':
        return this.#equal((store) => store.setPaused(this.#queue(command.queue), command.paused));
      case 'configure':
        return this.#equal((store) => store.configure(this.#queue(command.queue), command.settings, command.mode));
      case 'purge': {
        const { queue, state } = command;
        // Which of the tasks that have not ended go first is the store's own affair.
        const limit = isTerminal(state) ? command.limit : 1000;
        return this.#equal((store) => store.purge(this.#queue(queue), state, limit));
      }
      case 'redriveMany':
        return this.#redriveMany(command);
      case 'drop':
        return this.#equal((store) => dropAll(store, this.#queue(command.queue)));
      case 'look':
        await this.#equal((store) => store.queue(this.#queue(command.queue)));
        return this.#equal((store) => store.queues({ after: this.#queues[0]?.slice(0, -1) ?? '', limit: 2 }));
      case 'list': {
        const { filters, since, until, limit } = command;
        const now = this.#open.now();
        const times = {
          createdAfter: since === null ? null : now - since,
          createdBefore: until === null ? null : now - until,
        };
        const queue = this.#queue(command.queue);
        return this.#equal((store) => listAll(store, { queue, limit, ...filters, ...times }));
      }
      case 'reopen':
        // Ids of two processes sort by creation only across milliseconds, and may order what ended in one moment.
        await this.#open.advance(1);
        return this.#open.reopen();
    }
  }

  async #redriveMany({ limit, steps, ...rest }: Extract<Command, { do: 'redriveMany' }>): Promise<void> {
    const { type, errorCode, diedBeforeIn, max } = rest;
    const queue = this.#queue(rest.queue);
    const diedBefore = diedBeforeIn === null ? null : this.#open.now() + diedBeforeIn;
    const filter = { type, errorCode, diedBefore };
    await this.#equal((store) => store.countDead({ queue, filter, position: null, limit: 128 }));
    const to = this.#queue(rest.to);
    const operation = { id: nextId(this.#store, queue), queue, to, filter, max, ratePerSec: null };
    const { results } = await this.#same((store) => store.createOperations([operation]));
    if (typeof results[0] === 'string') return;
    for (let left = steps ?? MAX_TASKS; left > 0; left--) {
      const ids = Array.from({ length: limit }, () => nextId(this.#store, to));
      const stepped = await this.#same((store) => store.stepOperations([{ id: operation.id, limit, ids }]));
      for (const id of ids) this.#learn(id, to);
      if (this.#examined) assert.deepEqual(await this.#open.findings(), [], 'what a census finds under way');
      if (stepped.results[0]?.nextAt === null) break;
    }
    await this.#same((store) => store.cancelOperations([operation.id]));
    await this.#same((store) => store.forgetOperations([operation.id]));
  }

  /** A task that a redrive may have stored in a queue. */
  #learn(id: string, queue: string): void {
    const asked = this.#model.askedFor(id);
    if (asked === null) return;
    this.#tasks.push(asked);
    this.#queueOf.set(id, queue);
  }

  #enqueueCall(queue: string, specs: readonly TaskSpec[]): EnqueueCall {
    const tasks = specs.map((spec): NewTask => {
      const { again, runIn, delayMs, key, group, ...rest } = spec;
      const stored = again === null ? null : this.#storedTask(queue, again);
      if (stored) return stored;
      const task: NewTask = {
        ...rest,
        id: nextId(this.#store, queue),
        payload: `{"task":${this.#tasks.length}}` as JsonText,
        runAt: runIn === null ? null : this.#open.now() + runIn,
        delayMs: runIn === null ? delayMs : null,
        tags: rest.type ? [rest.type] : [],
        metadata: rest.type ? { type: rest.type } : {},
        trace: null,
        idempotency: key,
        groupKey: group,
      };
      this.#tasks.push(task);
      this.#queueOf.set(task.id, queue);
      return task;
    });
    return { queue, tasks };
  }

  /** A task of the queue that may be stored again: a lost reply is asked for again soon, not after a day. */
  #storedTask(queue: string, pick: number): NewTask | undefined {
    return latest(
      this.#tasks.filter(({ id }) => this.#queueOf.get(id) === queue && this.#model.ownsItsKey(id)),
      pick,
    );
  }

  async #lease(calls: readonly LeaseCall[]): Promise<void> {
    const held: (readonly HeldQueue[])[] = [];
    const { results } = await this.#same(async (store) => {
      const reply = await store.lease(calls);
      held.push(reply.held ?? []);
      return reply;
    });
    assert.deepEqual(held[0], held[1]);
    for (const { task, token } of results.flat()) this.#claims.push({ id: task.id, token });
  }

  #settleItem(spec: SettleSpec): SettleItem {
    const { pick, among, token: kind, ...rest } = spec;
    const open = among === 'open' ? this.#claims.filter((claim) => this.#model.isOpen(claim)) : [];
    const claim = latest(open.length > 0 ? open : this.#claims, pick) ?? { id: this.#unknownId, token: 'none yet' };
    const other = latest(this.#claims, pick + 1)?.token ?? 'none';
    const token = kind === 'own' ? claim.token : kind === 'other' ? other : 'forged';
    const base = { id: pick === UNKNOWN_PICK ? this.#unknownId : claim.id, token };
    switch (rest.verb) {
      case 'ack':
        return { ...base, ...rest, result: rest.result as JsonText | null };
      case 'nack': {
        const error = rest.error === null ? null : { code: rest.error, message: null, details: '[1]' as JsonText };
        return { ...base, ...rest, error };
      }
      case 'release':
        return { ...base, ...rest };
      case 'heartbeat': {
        const progress = rest.progress as JsonText | null;
        return { ...base, ...rest, progress, checkpoint: rest.checkpoint as JsonText | null };
      }
    }
  }

  async #sweep(): Promise<void> {
    const { dueAt, ...did } = await sweepAll(this.#store);
    const { promoted, reclaimed, expired, pruned, readied } = await this.#model.sweep();
    assert.deepEqual(did, { promoted, reclaimed, expired, pruned, readied: [...readied].sort() });
    this.#knownDue = dueAt ?? Number.POSITIVE_INFINITY;
  }

  /** Whatever time brings about for a task that has not ended, the process has heard of it in some reply. */
  #nothingForgotten(): void {
    const due = this.#model.nextWork();
    if (due === null || this.#knownDue <= due) return;
    const known = this.#knownDue === Number.POSITIVE_INFINITY ? 'nothing' : `what is due at ${this.#knownDue}`;
    assert.fail(`something is due at ${due}, but the replies told only of ${known} (now ${this.#open.now()})`);
  }

  /** Both do it, and answer the same; when something falls due may be told differently. */
  async #same<Result>(act: (store: Store) => Promise<Stamped<Result>>): Promise<Stamped<Result>> {
    const actual = await act(this.#store);
    const expected = await act(this.#model);
    assert.deepEqual(actual.results, expected.results);
    assert.equal(actual.now, expected.now);
    if (actual.dueAt !== null) this.#knownDue = Math.min(this.#knownDue, actual.dueAt);
    return actual;
  }

  async #equal(act: (store: Store) => Promise<unknown>): Promise<void> {
    const actual = await act(this.#store);
    assert.deepEqual(actual, await act(this.#model));
  }

  /** Everything that can be read is equal, and what is counted is what is there. */
  async #agree(): Promise<void> {
    await this.#equal(async (store) => (await store.get(this.#tasks.map(({ id }) => id))).results);
    for (const queue of this.#queues) {
      await this.#equal((store) => store.queue(queue));
      const record = await this.#record(queue);
      if (!record) continue;
      const all = await this.#list(queue, null);
      for (const state of TASK_STATES) {
        const count = all.filter((task) => task.state === state).length;
        assert.equal(record.counts[state], count, `the count of ${state}`);
        if (count > 0) await this.#list(queue, state);
      }
    }
  }

  async #list(queue: string, state: TaskState | null): Promise<TaskRecord[]> {
    const query = { queue, state, type: null, limit: 100 };
    const tasks = await listAll(this.#store, query);
    assert.deepEqual(tasks, await listAll(this.#model, query));
    return tasks;
  }

  /** The lines stand in the same order, when nothing holds them back. */
  async #drain(queue: string): Promise<void> {
    if ((await this.#record(queue))?.paused) await this.#equal((store) => store.setPaused(queue, false));
    const groups = { maxConcurrency: 1000 };
    await this.#equal((store) => store.configure(queue, { groups }, 'replace'));
    await this.#sweep();
    await this.#lease([{ queue, token: 'the end', max: 100, leaseMs: null, workerId: null, requestId: null }]);
  }

  async #clear(queue: string): Promise<void> {
    // What is behind another task of its group first: it would become ready when that one is gone.
    for (const state of ['blocked', ...TASK_STATES] as const) {
      if (!(await this.#record(queue))?.counts[state]) continue;
      await this.#equal((store) => store.purge(queue, state, 1000));
    }
    await this.#equal((store) => dropAll(store, queue));
  }

  async #nothingLeft(): Promise<void> {
    assert.deepEqual((await this.#store.queues({ after: null, limit: 10 })).queues, []);
    const { dueAt, ...did } = await sweepAll(this.#store);
    assert.deepEqual(did, { promoted: 0, reclaimed: 0, expired: 0, pruned: 0, readied: [] });
    assert.ok(dueAt === null || dueAt > this.#open.now());
  }

  /** The queue as the model has it. */
  async #record(queue: string): Promise<QueueRecord | null> {
    return (await this.#model.queue(queue)).queue;
  }

  #queue(number: number): string {
    return this.#queues[number] ?? 'none';
  }

  #id({ pick, among }: Target): string {
    if (pick === UNKNOWN_PICK) return this.#unknownId;
    const preferred = this.#tasks.filter(({ id }) => {
      const state = this.#model.stateOf(id);
      return state !== null && (among === 'all' || (among === 'leased' ? state === 'leased' : isTerminal(state)));
    });
    return latest(preferred.length > 0 ? preferred : this.#tasks, pick)?.id ?? this.#unknownId;
  }
}

/** No sequence has more tasks in a queue. */
const MAX_TASKS = 1000;

function latest<Item>(items: readonly Item[], pick: number): Item | undefined {
  return items.at(-1 - (pick % Math.max(1, items.length)));
}

async function dropAll(store: Store, queue: string): Promise<string> {
  for (let steps = 0; steps < 100; steps++) {
    const answer = await store.dropQueue(queue);
    if (answer !== 'more') return answer;
  }
  throw new Error('a queue that cannot be deleted in a hundred steps');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
