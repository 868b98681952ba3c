import { backoffMs } from '../../src/domain/backoff.ts';
import type { JsonText } from '../../src/domain/json-text.ts';
import { LIMITS, MIN_RETENTION_BY_COUNT_MS } from '../../src/domain/limits.ts';
import type { ProblemCode } from '../../src/domain/problems.ts';
import { type QueueConfig, type QueueSettings, queueConfig } from '../../src/domain/queue.ts';
import type { Grant, NewTask, TaskRecord, TaskState } from '../../src/domain/task.ts';
import * as port from '../../src/store/store.ts';
import { TaskIdMint } from '../../src/store/task-ids.ts';
import { ModelOperations } from './model-operations.ts';
import { type ModelKey, type ModelQueue, type ModelTask, rebuiltRecord, recordOf } from './model-task.ts';

const DROPPED_AT_ONCE = 100;
/** Below every place that a queue's counter can give out. */
const FRONT = -(2 ** 52);

type Settled = Extract<port.SettleOutcome, { outcome: 'settled' }>;
type Of<Verb extends port.SettleItem['verb']> = Extract<port.SettleItem, { verb: Verb }>;

/**
 * The reference: the store's rules in the plainest words, one task at a time, by looking at all of them. It uses
 * neither the drivers nor their transition tables, so that a fault there shows.
 *
 * It is longer than a file should be, because it is one thing that is read from top to bottom.
 */
export class ModelStore implements port.Store {
  readonly shared = false;
  readonly wakes = null;
  readonly #clock: () => number;
  readonly #met: (path: string) => void;
  readonly #mint = new TaskIdMint();
  readonly #queues = new Map<string, ModelQueue>();
  readonly #tasks = new Map<string, ModelTask>();
  /** Queues in which a step made others ready than the task it was about. */
  readonly #opened = new Set<string>();
  readonly #operations = new ModelOperations({
    clock: () => this.#clock(),
    hasQueue: (name) => this.#queues.has(name),
    dead: (queue) => this.#of(queue, 'dead').sort((a, b) => (a.finishedAt ?? 0) - (b.finishedAt ?? 0) || a.seq - b.seq),
    redrive: ({ asked }) => this.#redriveOne(asked.id).outcome === 'redriven',
    move: (task, to, id) => this.#moveOne(task, to, id),
  });

  /**
   * @param options.clock the store's time, in ms since the epoch
   * @param options.met told which rule was used, for the coverage of generated tests
   */
  constructor(options: { clock: () => number; met?: (path: string) => void }) {
    this.#clock = options.clock;
    this.#met = options.met ?? (() => undefined);
  }

  async open(): Promise<void> {}
  async close(): Promise<void> {}
  async check(): Promise<void> {}

  async memory(): Promise<port.StoreMemory> {
    return { used: null, evicts: false };
  }

  async backup(): Promise<null> {
    return null;
  }

  async describe(): Promise<port.StoreDescription> {
    return { product: 'model', location: 'memory', durability: 'none', note: 'For tests.', unmet: null };
  }

  newTaskId(_queue: string): string {
    return this.#mint.mint(0, this.#clock());
  }

  // --- for the choice of the next step ---------------------------------------------------------------------------

  stored(): string[] {
    return [...this.#tasks.keys()].sort();
  }

  stateOf(id: string): TaskState | null {
    return this.#tasks.get(id)?.state ?? null;
  }

  /** What the task was stored for; null when it is not there. */
  askedFor(id: string): NewTask | null {
    return this.#tasks.get(id)?.asked ?? null;
  }

  /** Whether the task is there and its idempotency key, if it had one, is still its own. */
  ownsItsKey(id: string): boolean {
    const task = this.#tasks.get(id);
    return task !== undefined && task.createdAt + LIMITS.idempotencyWindowMs > this.#clock();
  }

  /** Whether the token is that of the task's latest grant, which nothing has settled. */
  isOpen({ id, token }: { id: string; token: string }): boolean {
    const task = this.#tasks.get(id);
    return task?.token === token && task.first === null;
  }

  /** The next ttl of a leased task that has not passed yet. */
  nextTtlOfLeased(): number | null {
    const leased = [...this.#tasks.values()].filter(({ state }) => state === 'leased');
    return least(leased.map(({ expiresAt }) => expiresAt ?? 0).filter((time) => time > this.#clock()));
  }

  // --- enqueue -------------------------------------------------------------------------------------------------

  async enqueue(calls: readonly port.EnqueueCall[]): Promise<port.Stamped<port.EnqueueOutcome>> {
    return this.#stamped(calls.map((call) => this.#enqueueOne(call, true)));
  }

  async tryEnqueue(calls: readonly port.EnqueueCall[]): Promise<port.Stamped<port.EnqueueRefusal | null>> {
    return this.#stamped(
      calls.map((call) => {
        const outcome = this.#enqueueOne(call, false);
        return outcome.outcome === 'stored' ? null : outcome;
      }),
    );
  }

  /** Stores entry after entry, and undoes it all when one is refused, or when it was only to be tried. */
  #enqueueOne(call: port.EnqueueCall, keep: boolean): port.EnqueueOutcome {
    const undo = this.#savepoint();
    const queue = this.#queueOrNew(call.queue);
    const tasks: port.EnqueuedTask[] = [];
    const ended: string[] = [];
    const refused: { outcome: port.EnqueueRefusal['outcome']; index: number }[] = [];
    for (const [index, asked] of call.tasks.entries()) {
      const stored = this.#storeOne(queue, asked, ended);
      if (typeof stored === 'string') refused.push({ outcome: stored, index });
      else tasks.push(stored);
    }
    const [first] = refused;
    if (first || !keep) undo();
    if (first) {
      const alike = refused.filter(({ outcome }) => outcome === first.outcome).map(({ index }) => index);
      return { outcome: first.outcome, indexes: first.outcome === 'queue_full' ? [first.index] : alike };
    }
    this.#opened.clear();
    return ended.length === 0 ? { outcome: 'stored', tasks } : { outcome: 'stored', tasks, ended };
  }

  /** Answers how to go back to what is there now. */
  #savepoint(): () => void {
    const tasks = [...this.#tasks].map(
      ([id, task]) => [id, { ...task, grant: task.grant && { ...task.grant } }] as const,
    );
    const queues = [...this.#queues].map(([name, queue]) => {
      const keys = new Map([...queue.keys].map(([key, used]) => [key, { ...used }]));
      return [name, { ...queue, totals: { ...queue.totals }, keys }] as const;
    });
    return () => {
      this.#opened.clear();
      this.#tasks.clear();
      for (const [id, task] of tasks) this.#tasks.set(id, task);
      this.#queues.clear();
      for (const [name, queue] of queues) this.#queues.set(name, queue);
    };
  }

  #storeOne(queue: ModelQueue, asked: NewTask, ended: string[]): port.EnqueuedTask | port.EnqueueRefusal['outcome'] {
    const same = this.#tasks.get(asked.id);
    if (same) {
      this.#met('enqueue: same id');
      return { task: this.#record(same), replayed: false, deduplicated: false };
    }
    const used = asked.idempotency && this.#liveKey(queue.name, asked.idempotency.key);
    if (used) {
      if (used.fingerprint !== asked.idempotency?.fingerprint) {
        this.#met('enqueue: key reused');
        return 'idempotency_key_reused';
      }
      const task = this.#tasks.get(used.taskId);
      this.#met(task ? 'enqueue: replay' : 'enqueue: replay of a pruned task');
      if (task) return { task: this.#record(task), replayed: true, deduplicated: false };
      if (!used.pruned) throw new Error('a key outlived its task');
      const rebuilt = rebuiltRecord(asked, used.pruned, queueConfig(queue.settings).maxAttempts);
      return { task: rebuilt, replayed: true, deduplicated: false };
    }
    const { maxBacklog = null } = queue.settings;
    const backlog = maxBacklog === null ? 0 : this.#backlog(queue.name);
    const holder = asked.unique && this.#holder(queue.name, asked.unique.key, ended);
    if (asked.unique && holder) {
      if (asked.unique.onConflict === 'reject') {
        this.#met('unique: reject');
        return 'unique_conflict';
      }
      if (asked.unique.onConflict === 'return' || !this.#mayBeReplaced(holder)) {
        this.#met(`unique: ${asked.unique.onConflict === 'return' ? 'return' : 'replace is of no use'}`);
        return { task: this.#record(holder), replayed: false, deduplicated: true };
      }
      this.#met('unique: replace');
      this.#replace(holder, asked.id, ended);
    }
    const grown = maxBacklog === null ? 0 : this.#backlog(queue.name) + 1;
    if (maxBacklog !== null && grown > maxBacklog && grown > backlog) {
      this.#met('enqueue: queue full');
      return 'queue_full';
    }
    this.#create(queue, asked);
    return { task: this.#record(this.#existing(asked.id)), replayed: false, deduplicated: false };
  }

  /** Tasks that have not ended. */
  #backlog(queue: string): number {
    return this.#of(queue, null).filter(({ finishedAt }) => finishedAt === null).length;
  }

  /** Who holds the key of a queue by now; whose time is over is brought to its end. */
  #holder(queue: string, key: string, ended: string[]): ModelTask | null {
    const task = this.#of(queue, null).find(({ asked, holdsKey }) => holdsKey && asked.unique?.key === key);
    if (!task?.asked.unique) return null;
    const { until, ttlMs } = task.asked.unique;
    if (until !== 'ttl' && this.#endsByNow(task)) {
      this.#met('unique: the holder was overdue');
      this.#bringUpToDate(task);
      ended.push(task.asked.id);
    }
    if (until === 'ttl' && task.createdAt + (ttlMs ?? 0) <= this.#clock()) {
      this.#met('unique: the time is over');
      if (this.#endsByNow(task)) {
        this.#bringUpToDate(task);
        ended.push(task.asked.id);
      }
      task.holdsKey = false;
    }
    return task.holdsKey ? task : null;
  }

  /** Whether time alone has ended the task, though no sweep may have been there. */
  #endsByNow(task: ModelTask): boolean {
    const now = this.#clock();
    if (waits(task)) return passed(task.expiresAt, now);
    if (task.state !== 'leased' || !task.grant || task.grant.deadline > now) return false;
    const exhausted = task.attempt >= (task.asked.maxAttempts ?? this.#config(task).maxAttempts);
    return task.cancelRequested || passed(task.expiresAt, now) || exhausted;
  }

  /** Whether a cancel would take effect at once. */
  #mayBeReplaced(task: ModelTask): boolean {
    const held = task.state === 'leased' && task.grant !== null && task.grant.deadline > this.#clock();
    if (this.#endsByNow(task)) return task.state === 'leased' && task.cancelRequested;
    return task.finishedAt === null ? !held : task.state === 'cancelled';
  }

  #replace(task: ModelTask, by: string, ended: string[]): void {
    const wasOver = task.finishedAt !== null;
    this.#bringUpToDate(task);
    if (task.finishedAt === null) {
      this.#finish(task, 'cancelled');
      const { attempt } = task;
      task.lastError = {
        code: 'cancelled',
        message: `Replaced by task ${by}`,
        details: null,
        attempt,
        at: this.#clock(),
      };
    }
    task.holdsKey = false;
    if (!wasOver) ended.push(task.asked.id);
  }

  #create(queue: ModelQueue, asked: NewTask): void {
    const now = this.#clock();
    const wanted = asked.runAt ?? now + (asked.delayMs ?? 0);
    const later = wanted > now;
    const { groupKey } = asked;
    const blocked =
      !later &&
      groupKey !== null &&
      (this.#groupLine(queue.name, groupKey).length > 0 || !this.#groupHasRoom(queue, groupKey));
    if (groupKey !== null && !later) this.#met(`group: a new task is ${blocked ? 'blocked' : 'ready'}`);
    queue.counter += 1;
    const task: ModelTask = {
      asked,
      queue: queue.name,
      seq: queue.counter,
      createdAt: now,
      state: later ? 'scheduled' : blocked ? 'blocked' : 'ready',
      place: later || blocked ? null : queue.counter,
      groupPlace: asked.groupKey === null || later ? null : queue.counter,
      attempt: 0,
      deliveries: 0,
      runAt: later ? wanted : now,
      expiresAt: asked.ttlMs === null ? null : now + asked.ttlMs,
      finishedAt: null,
      token: null,
      first: null,
      grant: null,
      progress: null,
      checkpoint: null,
      result: null,
      lastError: null,
      cancelRequested: false,
      holdsKey: asked.unique !== null,
    };
    this.#tasks.set(asked.id, task);
    if (asked.idempotency) {
      const { key, fingerprint } = asked.idempotency;
      queue.keys.set(key, { fingerprint, usedAt: now, taskId: asked.id, pruned: null });
    }
    queue.totals.enqueued += 1;
  }

  #existing(id: string): ModelTask {
    const task = this.#tasks.get(id);
    if (!task) throw new Error(`task ${id} is not there`);
    return task;
  }

  #liveKey(queue: string, key: string): ModelKey | null {
    const used = this.#queues.get(queue)?.keys.get(key);
    return used && used.usedAt + LIMITS.idempotencyWindowMs > this.#clock() ? used : null;
  }

  // --- lease ---------------------------------------------------------------------------------------------------

  async lease(calls: readonly port.LeaseCall[]): Promise<port.Granted> {
    const reply: port.Granted = this.#stamped(calls.map((call) => this.#leaseOne(call)));
    this.#opened.clear();
    const held: port.HeldQueue[] = [];
    for (const name of new Set(calls.map(({ queue }) => queue))) {
      const queue = this.#queues.get(name);
      if (!queue || queue.paused || this.#of(name, 'ready').length === 0) continue;
      if (!this.#hasRoom(queue)) held.push({ queue: name, opensAt: null });
      else if (this.#rateOpensAt(queue) !== null) held.push({ queue: name, opensAt: this.#rateOpensAt(queue) });
    }
    return held.length === 0 ? reply : { ...reply, held };
  }

  /** Whether one more lease is within `maxConcurrency`. */
  #hasRoom(queue: ModelQueue): boolean {
    const { maxConcurrency } = queue.settings;
    return maxConcurrency === undefined || this.#of(queue.name, 'leased').length < maxConcurrency;
  }

  /** When the next grant would be within the rate limit; null when it is now. */
  #rateOpensAt(queue: ModelQueue): number | null {
    const { rateLimit } = queue.settings;
    if (!rateLimit) return null;
    // A grant is allowed a period after the one that is `limit` grants before it.
    const opensAt = (queue.rateLog.at(-rateLimit.limit) ?? Number.NEGATIVE_INFINITY) + rateLimit.periodMs;
    return opensAt > this.#clock() ? opensAt : null;
  }

  #leaseOne(call: port.LeaseCall): Grant[] {
    const queue = this.#queues.get(call.queue);
    const running = call.requestId === null ? [] : this.#running(call.queue, call.requestId);
    if (running.length > 0) {
      this.#met('lease: same request');
      return running;
    }
    if (!queue || queue.paused) return [];
    const grants: Grant[] = [];
    for (let task = this.#next(queue.name); task; task = this.#next(queue.name)) {
      if (grants.length === call.max) break;
      if (!this.#hasRoom(queue)) {
        this.#met('lease: no room');
        break;
      }
      if (this.#rateOpensAt(queue) !== null) {
        this.#met('lease: too soon');
        break;
      }
      if (passed(task.expiresAt, this.#clock())) {
        this.#met('lease: past its ttl');
        this.#finish(task, 'expired');
        continue;
      }
      if (task.asked.groupKey !== null && !this.#groupHasRoom(queue, task.asked.groupKey)) {
        this.#met('group: blocked at its turn');
        this.#regroup(task);
        continue;
      }
      const now = this.#clock();
      const lengthMs = call.leaseMs ?? task.asked.leaseMs ?? queueConfig(queue.settings).leaseMs;
      queue.grants += 1;
      const { rateLimit } = queue.settings;
      if (rateLimit) queue.rateLog = [...queue.rateLog, now].slice(-rateLimit.limit);
      queue.totals.leased += 1;
      task.state = 'leased';
      task.attempt += 1;
      task.deliveries += 1;
      task.token = call.token;
      task.first = null;
      if (task.asked.unique?.until === 'started' && task.holdsKey) {
        this.#met('unique: started');
        task.holdsKey = false;
      }
      const { workerId, requestId } = call;
      if (grants.length === 0 && requestId !== null) this.#forget(queue.name, requestId);
      task.grant = { number: queue.grants, at: now, lengthMs, workerId, requestId, deadline: now + lengthMs };
      grants.push({ task: this.#record(task), token: call.token });
      this.#regroup(task);
    }
    return grants;
  }

  async recall(calls: readonly port.RecallCall[]): Promise<port.Stamped<readonly Grant[]>> {
    return this.#stamped(calls.map(({ queue, requestId }) => this.#running(queue, requestId)));
  }

  /** Always true: nobody else works on the model. */
  async disown(calls: readonly port.DisownCall[]): Promise<port.Stamped<boolean>> {
    for (const { queue, requestId, token } of calls) {
      if (this.#running(queue, requestId).some((grant) => grant.token === token)) this.#forget(queue, requestId);
    }
    return this.#stamped(calls.map(() => true));
  }

  /** A request id is that of the latest call that was granted something under it. */
  #forget(queue: string, requestId: string): void {
    for (const { grant } of this.#of(queue, null)) if (grant?.requestId === requestId) grant.requestId = null;
  }

  /** The leases of a request that have not run out, in the order of their grants. */
  #running(queue: string, requestId: string): Grant[] {
    const grants: { number: number; task: TaskRecord; token: string }[] = [];
    for (const task of this.#of(queue, 'leased')) {
      const { grant, token } = task;
      if (grant?.requestId !== requestId || grant.deadline <= this.#clock() || token === null) continue;
      grants.push({ number: grant.number, task: this.#record(task), token });
    }
    return grants.sort((a, b) => a.number - b.number).map(({ task, token }) => ({ task, token }));
  }

  /** The ready tasks of a queue, in the order in which they are granted. */
  #line(queue: string): ModelTask[] {
    return this.#of(queue, 'ready').sort(byTurn);
  }

  /** The first of them. */
  #next(queue: string): ModelTask | undefined {
    let first: ModelTask | undefined;
    for (const task of this.#tasks.values()) {
      if (task.queue === queue && task.state === 'ready' && (!first || byTurn(task, first) < 0)) first = task;
    }
    return first;
  }

  // --- settle --------------------------------------------------------------------------------------------------

  async settle(items: readonly port.SettleItem[]): Promise<port.Stamped<port.SettleOutcome>> {
    return this.#stamped(items.map((item) => this.#settleOne(item)));
  }

  #settleOne(item: port.SettleItem): port.SettleOutcome {
    const task = this.#tasks.get(item.id);
    if (!task) return this.#refuse('unknown', item, 'task_not_found');
    const wasLeased = task.state === 'leased';
    this.#bringUpToDate(task);
    const outcome = this.#settleUpToDate(task, item);
    const readied = outcome.outcome === 'refused' && wasLeased && task.state === 'ready';
    const opened = this.#opened.delete(task.queue) && this.#of(task.queue, 'ready').length > 0;
    return readied || opened || (wasLeased && this.#leavesRoom(task)) ? { ...outcome, readied: task.queue } : outcome;
  }

  /** Whether the end of the task's lease lets a ready task of a queue with `maxConcurrency` pass. */
  #leavesRoom(task: ModelTask): boolean {
    const { maxConcurrency } = this.#queueOf(task).settings;
    return task.state !== 'leased' && maxConcurrency !== undefined && this.#of(task.queue, 'ready').length > 0;
  }

  #settleUpToDate(task: ModelTask, item: port.SettleItem): port.SettleOutcome {
    if (task.token !== item.token) return this.#refuse('superseded', item, 'lease_lost');
    if (task.first !== null && task.first.verb === item.verb) {
      this.#met(`repeated: ${item.verb}`);
      const { state, attempt, runAt, late } = task.first;
      return { ...this.#settled(task, late), state, attempt, runAt, replayed: true };
    }
    if (task.state === 'cancelled') return this.#refuse('cancelled', item, 'task_cancelled');
    if (task.first !== null) return this.#refuse('settled', item, 'already_settled');
    if (task.state === 'dead' || task.state === 'expired' || task.state === 'completed') {
      return this.#settleLapsed(task, item);
    }
    if (task.state !== 'leased') return this.#settleLate(task, item);
    this.#met(`held: ${item.verb}`);
    if (item.verb === 'ack') return this.#ack(task, item, false);
    if (item.verb === 'nack') return this.#nack(task, item);
    if (item.verb === 'release') return this.#release(task, item);
    return this.#heartbeat(task, item, false);
  }

  #settleLapsed(task: ModelTask, item: port.SettleItem): port.SettleOutcome {
    if (item.verb === 'release') return this.#refuse('lapsed', item, 'already_settled');
    if (item.verb === 'heartbeat') return this.#refuse('lapsed', item, 'lease_lost');
    this.#met(`lapsed: ${item.verb}`);
    if (item.verb === 'ack') return this.#ack(task, item, true);
    this.#recordError(task, item);
    return this.#ended(task, 'nack', true);
  }

  #settleLate(task: ModelTask, item: port.SettleItem): port.SettleOutcome {
    if (item.verb === 'release') return this.#refuse('late', item, 'lease_lost');
    if (item.verb === 'heartbeat') {
      if (!task.grant || task.grant.at + item.maxRuntimeMs <= this.#clock()) {
        this.#met('late: heartbeat beyond the longest run');
        return { outcome: 'refused', code: 'lease_lost' };
      }
      if (!this.#hasRoom(this.#queueOf(task))) {
        this.#met('late: heartbeat without room');
        return { outcome: 'refused', code: 'lease_lost' };
      }
      const { groupKey } = task.asked;
      if (groupKey !== null && !this.#groupHasRoom(this.#queueOf(task), groupKey)) {
        this.#met('group: late heartbeat without room');
        return { outcome: 'refused', code: 'lease_lost' };
      }
      this.#met('late: heartbeat');
      task.state = 'leased';
      task.place = FRONT + task.grant.number;
      const revived = this.#heartbeat(task, item, true);
      this.#regroup(task);
      return revived;
    }
    this.#met(`late: ${item.verb}`);
    if (item.verb === 'ack') return this.#ack(task, item, true);
    this.#recordError(task, item);
    if (!item.retryable) this.#finish(task, 'dead');
    return this.#ended(task, 'nack', true);
  }

  #ack(task: ModelTask, item: Of<'ack'>, late: boolean): Settled {
    if (!late) this.#met('ack: always');
    task.result = item.result;
    this.#finish(task, 'completed');
    return this.#ended(task, 'ack', late);
  }

  #nack(task: ModelTask, item: Of<'nack'>): Settled {
    const now = this.#clock();
    this.#recordError(task, item);
    const config = this.#config(task);
    const wait = item.delayMs ?? backoffMs(task.asked.backoff ?? config.backoff, task.attempt, item.random);
    if (task.cancelRequested) {
      this.#met('nack: cancelRequested');
      this.#finish(task, 'cancelled');
    } else if (passed(task.expiresAt, now)) {
      this.#met('nack: ttlPassed');
      this.#finish(task, 'expired');
    } else if (!item.retryable || task.attempt >= (task.asked.maxAttempts ?? config.maxAttempts)) {
      this.#met('nack: exhausted');
      this.#finish(task, 'dead');
    } else if (wait > 0) {
      this.#met('nack: delayed');
      task.runAt = now + wait;
      this.#schedule(task, this.#groups(task).ordering === 'strict');
    } else {
      this.#met('nack: always');
      task.runAt = now;
      this.#toBack(task, this.#groups(task).ordering === 'strict');
    }
    return this.#ended(task, 'nack', false);
  }

  #release(task: ModelTask, item: Of<'release'>): Settled {
    const now = this.#clock();
    task.attempt -= 1;
    if (task.cancelRequested) {
      this.#met('release: cancelRequested');
      this.#finish(task, 'cancelled');
    } else if (passed(task.expiresAt, now)) {
      this.#met('release: ttlPassed');
      this.#finish(task, 'expired');
    } else if (item.delayMs !== null && item.delayMs > 0) {
      this.#met('release: delayed');
      task.runAt = now + item.delayMs;
      this.#schedule(task, false);
    } else {
      this.#met('release: always');
      this.#stand(task, task.place ?? this.#nextPlace(task), true);
    }
    return this.#ended(task, 'release', false);
  }

  #heartbeat(task: ModelTask, item: Of<'heartbeat'>, late: boolean): Settled {
    if (!task.grant) throw new Error('a heartbeat for a task without a grant');
    const wanted = this.#clock() + (item.leaseMs ?? task.grant.lengthMs);
    task.grant.deadline = Math.min(wanted, task.grant.at + item.maxRuntimeMs);
    if (item.progress !== null) task.progress = orNull(item.progress);
    if (item.checkpoint !== null) task.checkpoint = orNull(item.checkpoint);
    return { ...this.#settled(task, late), leaseExpiresAt: task.grant.deadline };
  }

  /** What time alone has made of the task: as the next sweep would do it. */
  #bringUpToDate(task: ModelTask): void {
    const now = this.#clock();
    if (task.state === 'leased' && task.grant && task.grant.deadline <= now) this.#leaseRanOut(task);
    else if (waits(task) && passed(task.expiresAt, now)) {
      this.#finish(task, 'expired');
    }
  }

  #leaseRanOut(task: ModelTask): void {
    const now = this.#clock();
    const queue = this.#queueOf(task);
    queue.totals.expired += 1;
    task.lastError = {
      code: 'lease_expired',
      message: 'The lease ran out before the worker settled it.',
      details: null,
      attempt: task.attempt,
      at: now,
    };
    if (task.cancelRequested) {
      this.#met('expiry: cancelRequested');
      this.#finish(task, 'cancelled');
    } else if (passed(task.expiresAt, now)) {
      this.#met('expiry: ttlPassed');
      this.#finish(task, 'expired');
    } else if (task.attempt >= (task.asked.maxAttempts ?? this.#config(task).maxAttempts)) {
      this.#met('expiry: exhausted');
      this.#finish(task, 'dead');
    } else {
      this.#met('expiry: always');
      this.#stand(task, FRONT + (task.grant?.number ?? 0), true);
    }
  }

  #recordError(task: ModelTask, item: Of<'nack'>): void {
    const { code, message, details } = item.error ?? { code: null, message: null, details: null };
    task.lastError = { code, message, details, attempt: task.attempt, at: this.#clock() };
  }

  /** Keeps the first outcome of a verb that ended the lease, and counts it. */
  #ended(task: ModelTask, verb: port.FirstOutcome['verb'], late: boolean): Settled {
    task.first = { verb, state: task.state, attempt: task.attempt, runAt: task.runAt, late };
    const totals = this.#queueOf(task).totals;
    if (verb === 'ack') totals.acked += 1;
    if (verb === 'nack') totals.nacked += 1;
    if (verb === 'release') totals.released += 1;
    return this.#settled(task, late);
  }

  #settled(task: ModelTask, late: boolean): Settled {
    const { queue, state, attempt, runAt, cancelRequested } = task;
    return {
      ...{ outcome: 'settled', queue, state, attempt, late, replayed: false },
      ...{ runAt, leaseExpiresAt: null, cancelRequested },
    };
  }

  #refuse(met: string, item: port.SettleItem, code: ProblemCode): port.SettleOutcome {
    this.#met(`${met}: ${item.verb}`);
    return { outcome: 'refused', code };
  }

  // --- cancel, redrive, remove ---------------------------------------------------------------------------------

  async cancel(items: readonly port.CancelItem[]): Promise<port.Stamped<port.CancelOutcome>> {
    return this.#stamped(
      items.map((item) => {
        const task = this.#tasks.get(item.id);
        const wasLeased = task?.state === 'leased';
        const outcome = this.#cancelOne(item);
        const opened = task && this.#opened.delete(task.queue) && this.#of(task.queue, 'ready').length > 0;
        return task && (opened || (wasLeased && this.#leavesRoom(task)))
          ? { ...outcome, readied: task.queue }
          : outcome;
      }),
    );
  }

  #cancelOne({ id, reason, force }: port.CancelItem): port.CancelOutcome {
    const task = this.#tasks.get(id);
    if (!task) return { outcome: 'refused', code: 'task_not_found' };
    this.#bringUpToDate(task);
    this.#met(`${force ? 'force' : 'cancel'}: ${task.state}`);
    if (task.state === 'cancelled') return { outcome: 'cancelled', task: this.#record(task) };
    if (task.finishedAt !== null) return { outcome: 'refused', code: 'already_settled' };
    if (reason !== null) {
      const { attempt } = task;
      task.lastError = { code: 'cancelled', message: reason, details: null, attempt, at: this.#clock() };
    }
    if (task.state === 'leased' && !force) {
      task.cancelRequested = true;
      return { outcome: 'requested', task: this.#record(task) };
    }
    this.#finish(task, 'cancelled');
    return { outcome: 'cancelled', task: this.#record(task) };
  }

  async redrive(ids: readonly string[]): Promise<port.Stamped<port.RedriveOutcome>> {
    return this.#stamped(ids.map((id) => this.#redriveOne(id)));
  }

  #redriveOne(id: string): port.RedriveOutcome {
    const task = this.#tasks.get(id);
    if (!task) return { outcome: 'refused', code: 'task_not_found' };
    this.#met(`redrive: ${task.state}`);
    if (task.state !== 'dead' && task.state !== 'cancelled' && task.state !== 'expired') {
      return { outcome: 'refused', code: 'not_redrivable' };
    }
    const { unique } = task.asked;
    if (unique && !task.holdsKey) {
      if (this.#holder(task.queue, unique.key, [])) {
        this.#met('unique: redrive refused');
        return { outcome: 'refused', code: 'unique_conflict' };
      }
      task.holdsKey = unique.until !== 'ttl' || task.createdAt + (unique.ttlMs ?? 0) > this.#clock();
      this.#met(`unique: redrive ${task.holdsKey ? 'holds the key again' : 'after its time'}`);
    }
    task.attempt = 0;
    task.expiresAt = null;
    task.finishedAt = null;
    task.token = null;
    task.first = null;
    task.cancelRequested = false;
    task.runAt = this.#clock();
    this.#toBack(task);
    this.#opened.clear();
    return { outcome: 'redriven', task: this.#record(task) };
  }

  /** Stores a dead task in another queue, as if its producer had asked for it there and now, and takes it out of its own. */
  #moveOne(task: ModelTask, to: string, id: string): 'moved' | 'unique_conflict' | 'queue_full' {
    const unique = task.asked.unique && { ...task.asked.unique, onConflict: 'reject' as const };
    const asked = { ...task.asked, id, runAt: null, delayMs: null, ttlMs: null, idempotency: null, unique };
    const outcome = this.#enqueueOne({ queue: to, tasks: [asked] }, true).outcome;
    if (outcome === 'idempotency_key_reused') throw new Error('a task without a key reused one');
    this.#met(`move: ${outcome}`);
    if (outcome !== 'stored') return outcome;
    const { lastError, progress, checkpoint } = task;
    Object.assign(this.#existing(id), { lastError, progress, checkpoint });
    this.#pruneOne(task);
    return 'moved';
  }

  async countDead(query: port.DeadQuery): Promise<port.DeadCount> {
    return this.#operations.countDead(query);
  }

  async createOperations(asked: readonly port.NewOperation[]): Promise<port.Stamped<port.CreateOperationOutcome>> {
    return this.#stamped(asked.map((one) => this.#operations.create(one)));
  }

  async operations(ids: readonly string[]): Promise<port.Stamped<port.OperationRecord | null>> {
    return this.#stamped(ids.map((id) => this.#operations.get(id)));
  }

  async stepOperations(steps: readonly port.OperationStep[]): Promise<port.Stamped<port.OperationStepped | null>> {
    return this.#stamped(steps.map((step) => this.#operations.step(step)));
  }

  async cancelOperations(ids: readonly string[]): Promise<port.Stamped<port.OperationRecord | null>> {
    return this.#stamped(ids.map((id) => this.#operations.cancel(id)));
  }

  async forgetOperations(ids: readonly string[]): Promise<port.Stamped<boolean>> {
    return this.#stamped(ids.map((id) => this.#operations.forget(id)));
  }

  async runningOperations(): Promise<readonly port.OperationRecord[]> {
    return this.#operations.running();
  }

  async remove(ids: readonly string[]): Promise<port.Stamped<port.RemoveOutcome>> {
    return this.#stamped(ids.map((id) => this.#removeOne(id)));
  }

  #removeOne(id: string): port.RemoveOutcome {
    const task = this.#tasks.get(id);
    if (!task) return { outcome: 'refused', code: 'task_not_found' };
    this.#met(`remove: ${task.state}`);
    if (task.finishedAt === null) return { outcome: 'refused', code: 'task_active' };
    this.#delete(task);
    return { outcome: 'removed' };
  }

  // --- reading -------------------------------------------------------------------------------------------------

  async get(ids: readonly string[]): Promise<port.Stamped<TaskRecord | null>> {
    return this.#stamped(
      ids.map((id) => {
        const task = this.#tasks.get(id);
        return task ? this.#record(task) : null;
      }),
    );
  }

  async list(query: port.ListQuery): Promise<port.TaskPage> {
    const { order = 'oldest', tag = null, errorCode = null, createdAfter, createdBefore } = query;
    const ended = query.state !== null && isEnd(query.state);
    const kind = `${ended ? 'ended' : 'made'}-${order}`;
    const cursor = /^([\w-]+) (\d+) (\d+)$/.exec(query.cursor ?? `${kind} 0 0`);
    if (cursor?.[1] !== kind) throw new port.InvalidCursor();
    const timeOf = (task: ModelTask): number => (ended ? (task.finishedAt ?? 0) : 0);
    const sign = order === 'oldest' ? 1 : -1;
    const rest = this.#of(query.queue, query.state)
      .filter((task) => query.type === null || task.asked.type === query.type)
      .filter((task) => tag === null || task.asked.tags.includes(tag))
      .filter((task) => errorCode === null || task.lastError?.code === errorCode)
      .filter(({ createdAt }) => createdAt >= (createdAfter ?? createdAt))
      .filter(({ createdAt }) => createdAt < (createdBefore ?? Number.POSITIVE_INFINITY))
      .filter((task) => {
        const beyond = timeOf(task) - Number(cursor[2]) || task.seq - Number(cursor[3]);
        return query.cursor === null || beyond * sign > 0;
      })
      .sort((a, b) => sign * (timeOf(a) - timeOf(b) || a.seq - b.seq));
    const page = rest.slice(0, query.limit);
    const last = page.at(-1);
    return {
      now: this.#clock(),
      tasks: page.map((task) => this.#record(task)),
      next: last && rest.length > page.length ? `${kind} ${timeOf(last)} ${last.seq}` : null,
    };
  }

  // --- queues --------------------------------------------------------------------------------------------------

  async queues(query: { after: string | null; limit: number }): Promise<port.QueuePage> {
    const { after, limit } = query;
    const names = [...this.#queues.keys()].sort().filter((name) => after === null || name > after);
    const page = names.slice(0, limit);
    return {
      now: this.#clock(),
      queues: page.map((name) => this.#queueRecord(this.#queueOrNew(name))),
      next: names.length > page.length ? (page.at(-1) ?? null) : null,
    };
  }

  async queue(name: string): Promise<{ now: number; queue: port.QueueRecord | null }> {
    const queue = this.#queues.get(name);
    return { now: this.#clock(), queue: queue ? this.#queueRecord(queue) : null };
  }

  async configure(name: string, asked: QueueSettings, mode: 'replace' | 'merge'): Promise<port.ConfigureOutcome> {
    const given = structuredClone(asked);
    const created = !this.#queues.has(name);
    const queue = this.#queueOrNew(name);
    const before = queueConfig(queue.settings).groups;
    if (mode === 'replace') queue.settings = given;
    else {
      const { backoff, retention, groups } = queue.settings;
      queue.settings = { ...queue.settings, ...given };
      if (backoff && given.backoff) queue.settings.backoff = { ...backoff, ...given.backoff };
      if (groups && given.groups) queue.settings.groups = { ...groups, ...given.groups };
      if (retention && given.retention) queue.settings.retention = { ...retention, ...given.retention };
    }
    const after = queueConfig(queue.settings).groups;
    const loosened =
      after.maxConcurrency > before.maxConcurrency || (before.ordering === 'strict' && after.ordering === 'relaxed');
    if (loosened && this.#of(name, 'blocked').length > 0) queue.regroup = true;
    if (!queue.settings.rateLimit) queue.rateLog = [];
    return { now: this.#clock(), created, queue: this.#queueRecord(queue) };
  }

  async setPaused(name: string, paused: boolean): Promise<boolean> {
    const queue = this.#queues.get(name);
    if (!queue) return false;
    queue.paused = paused;
    return true;
  }

  async purge(name: string, state: TaskState, limit: number): Promise<{ purged: number }> {
    const timeOf = (task: ModelTask): number => (isEnd(state) ? (task.finishedAt ?? 0) : 0);
    const oldest = this.#of(name, state).sort((a, b) => timeOf(a) - timeOf(b) || a.seq - b.seq);
    let purged = 0;
    for (const task of oldest.slice(0, limit)) {
      // One that is no longer in the state, because another one of its group is gone, stays.
      if (task.state !== state) continue;
      this.#delete(task);
      purged += 1;
    }
    this.#opened.clear();
    return { purged };
  }

  async dropQueue(name: string): Promise<'deleted' | 'more' | 'not_empty' | 'not_found'> {
    if (!this.#queues.has(name)) return 'not_found';
    const tasks = this.#of(name, null);
    if (tasks.some(({ state }) => !isEnd(state) || state === 'dead')) return 'not_empty';
    for (const task of tasks.slice(0, DROPPED_AT_ONCE)) this.#delete(task);
    if (tasks.length > DROPPED_AT_ONCE) return 'more';
    this.#queues.delete(name);
    return 'deleted';
  }

  #queueOrNew(name: string): ModelQueue {
    const existing = this.#queues.get(name);
    if (existing) return existing;
    const queue: ModelQueue = {
      name,
      createdAt: this.#clock(),
      paused: false,
      settings: {},
      counter: 0,
      grants: 0,
      totals: { enqueued: 0, leased: 0, acked: 0, nacked: 0, released: 0, expired: 0, dead: 0 },
      keys: new Map(),
      rateLog: [],
      regroup: false,
    };
    this.#queues.set(name, queue);
    return queue;
  }

  #queueRecord(queue: ModelQueue): port.QueueRecord {
    const { name, paused, createdAt, settings, totals } = queue;
    const count = (state: TaskState): number => this.#of(name, state).length;
    const line = this.#line(name);
    const heads = line.filter((task, at) => task.asked.priority !== line[at - 1]?.asked.priority);
    return {
      name,
      paused,
      createdAt,
      settings,
      config: queueConfig(settings),
      counts: {
        scheduled: count('scheduled'),
        ready: count('ready'),
        blocked: count('blocked'),
        leased: count('leased'),
        completed: count('completed'),
        dead: count('dead'),
        cancelled: count('cancelled'),
        expired: count('expired'),
      },
      totals: { ...totals },
      oldestReadyAt: least(heads.map(({ runAt }) => runAt)),
      nextRunAt: least(this.#of(name, 'scheduled').map(({ runAt }) => runAt)),
      rateOpensAt: this.#rateOpensAt(queue),
      blockedByLease:
        count('ready') === 0 &&
        count('scheduled') > 0 &&
        this.#of(name, 'blocked').some(({ asked }) =>
          this.#of(name, 'leased').some((held) => held.asked.groupKey === asked.groupKey),
        ),
    };
  }

  // --- time ----------------------------------------------------------------------------------------------------

  /** Everything that is due, in one step. */
  async sweep(): Promise<port.SweepReport> {
    const now = this.#clock();
    const report = { promoted: 0, reclaimed: 0, expired: 0, pruned: 0 };
    const readied = new Set<string>();
    const freed: ModelTask[] = [];
    for (const queue of this.#queues.values()) {
      const due = this.#of(queue.name, 'scheduled').filter(({ runAt }) => runAt <= now);
      for (const task of due.sort((a, b) => a.runAt - b.runAt || a.seq - b.seq)) {
        if (passed(task.expiresAt, now)) {
          this.#met('sweep: ttl');
          this.#finish(task, 'expired');
          report.expired += 1;
          continue;
        }
        this.#met('sweep: due');
        this.#toBack(task, task.groupPlace !== null);
        report.promoted += 1;
        if (this.stateOf(task.asked.id) === 'ready') readied.add(queue.name);
      }
      const ranOut = this.#of(queue.name, 'leased').filter(({ grant }) => grant !== null && grant.deadline <= now);
      const ends = (task: ModelTask): [number, number] => [task.grant?.deadline ?? 0, task.grant?.number ?? 0];
      for (const task of ranOut.sort((a, b) => ends(a)[0] - ends(b)[0] || ends(a)[1] - ends(b)[1])) {
        this.#met('sweep: lease');
        this.#leaseRanOut(task);
        report.reclaimed += 1;
        if (this.stateOf(task.asked.id) === 'ready') readied.add(queue.name);
        freed.push(task);
      }
      const over = this.#of(queue.name, null).filter((task) => waits(task) && passed(task.expiresAt, now));
      for (const task of over.sort((a, b) => (a.expiresAt ?? 0) - (b.expiresAt ?? 0) || a.seq - b.seq)) {
        this.#met('sweep: ttl');
        this.#finish(task, 'expired');
        report.expired += 1;
      }
      if (queue.regroup) {
        this.#met('sweep: groups');
        const blocked = this.#of(queue.name, 'blocked').sort((a, b) => a.seq - b.seq);
        for (const task of blocked) this.#regroup(task, 'group');
        queue.regroup = false;
      }
      report.pruned += this.#prune(queue);
    }
    for (const name of this.#opened) if (this.#of(name, 'ready').length > 0) readied.add(name);
    this.#opened.clear();
    for (const task of freed) if (this.#leavesRoom(task)) readied.add(task.queue);
    return { now, dueAt: this.nextDue(), ...report, readied: [...readied] };
  }

  #prune(queue: ModelQueue): number {
    const now = this.#clock();
    const { completedMs, completedMax, deadMs } = queueConfig(queue.settings).retention;
    let pruned = 0;
    for (const state of ['completed', 'dead', 'cancelled', 'expired'] as const) {
      const ended = this.#of(queue.name, state).sort((a, b) => endOf(a) - endOf(b) || a.seq - b.seq);
      const age = state === 'dead' ? deadMs : completedMs;
      const old = ended.filter((task) => endOf(task) <= now - (task.asked.retentionMs ?? age));
      const left = ended.filter((task) => !old.includes(task));
      const surplus = state === 'dead' ? 0 : Math.max(0, left.length - completedMax);
      const beyond = left.slice(0, surplus).filter((task) => endOf(task) <= now - MIN_RETENTION_BY_COUNT_MS);
      for (const task of [...old, ...beyond]) {
        const own = task.asked.retentionMs === null ? '' : ', own';
        this.#met(old.includes(task) ? `prune: age${own}` : `prune: count${own}`);
        this.#pruneOne(task);
        pruned += 1;
      }
    }
    return pruned;
  }

  /** The task is gone, and its idempotency key goes on answering for it. */
  #pruneOne(task: ModelTask): void {
    const key = this.#keyOf(task);
    if (key) key.pruned = this.#record(task);
    this.#tasks.delete(task.asked.id);
  }

  /** When the next sweep has something to do. */
  nextDue(): number | null {
    const times = [this.nextWork()];
    for (const queue of this.#queues.values()) {
      const { completedMs, completedMax, deadMs } = queueConfig(queue.settings).retention;
      for (const state of ['completed', 'dead', 'cancelled', 'expired'] as const) {
        const ended = this.#of(queue.name, state).map(endOf);
        const age = state === 'dead' ? deadMs : completedMs;
        for (const task of this.#of(queue.name, state)) times.push(endOf(task) + (task.asked.retentionMs ?? age));
        if (state !== 'dead' && ended.length > completedMax) times.push(Math.min(...ended) + MIN_RETENTION_BY_COUNT_MS);
      }
    }
    return least(times.filter((time) => time !== null));
  }

  /** When the next sweep has something to do for a task that has not ended. */
  nextWork(): number | null {
    const times: number[] = [];
    for (const { state, runAt, grant, expiresAt } of this.#tasks.values()) {
      if (state === 'scheduled') times.push(runAt);
      if (state === 'leased' && grant) times.push(grant.deadline);
      if ((state === 'scheduled' || state === 'ready' || state === 'blocked') && expiresAt !== null)
        times.push(expiresAt);
    }
    return least(times);
  }

  // --- the small steps -----------------------------------------------------------------------------------------

  /** Behind everything that stands in the task's line. */
  #toBack(task: ModelTask, keepsGroupPlace = false): void {
    this.#stand(task, this.#nextPlace(task), keepsGroupPlace);
  }

  #nextPlace(task: ModelTask): number {
    const queue = this.#queueOf(task);
    queue.counter += 1;
    return queue.counter;
  }

  /** Has the task wait at a place in the line of its queue, if the order of its group allows. */
  #stand(task: ModelTask, place: number, keepsGroupPlace: boolean): void {
    task.place = place;
    if (task.asked.groupKey === null) {
      task.state = 'ready';
      return;
    }
    task.state = 'blocked';
    if (!keepsGroupPlace || task.groupPlace === null) task.groupPlace = this.#nextPlace(task);
    this.#regroup(task);
    if (this.stateOf(task.asked.id) === 'blocked') task.place = null;
  }

  #schedule(task: ModelTask, keepsGroupPlace: boolean): void {
    task.state = 'scheduled';
    if (!keepsGroupPlace) task.groupPlace = null;
    this.#regroup(task);
  }

  #groups(task: ModelTask): QueueConfig['groups'] {
    return this.#config(task).groups;
  }

  /** The tasks of a group that are in line, in their order. */
  #groupLine(queue: string, key: string): ModelTask[] {
    return this.#of(queue, null)
      .filter(({ asked, state }) => asked.groupKey === key && (state === 'ready' || state === 'blocked'))
      .sort((a, b) => (a.groupPlace ?? 0) - (b.groupPlace ?? 0));
  }

  #groupHasRoom(queue: ModelQueue, key: string): boolean {
    const { maxConcurrency, ordering } = queueConfig(queue.settings).groups;
    const running = this.#of(queue.name, null).filter(
      ({ asked, state, groupPlace }) =>
        asked.groupKey === key &&
        (state === 'leased' || (state === 'scheduled' && groupPlace !== null && ordering === 'strict')),
    );
    return running.length < maxConcurrency;
  }

  /** Of a task's group the first in line is ready when there is room, and all others are blocked. */
  #regroup({ asked: { groupKey }, queue: name, seq }: ModelTask, about: 'self' | 'group' = 'self'): void {
    if (groupKey === null) return;
    const queue = this.#queueOrNew(name);
    const line = this.#groupLine(name, groupKey);
    const [head] = line;
    const room = this.#groupHasRoom(queue, groupKey);
    for (const task of line) {
      if (task.state !== 'ready' || (task === head && room)) continue;
      this.#met('group: ready, then blocked again');
      task.state = 'blocked';
      task.place = null;
    }
    if (!head || !room || head.state === 'ready') return;
    head.state = 'ready';
    head.place ??= this.#nextPlace(head);
    if (about === 'self' && head.seq === seq) return;
    this.#met('group: the next is ready');
    this.#opened.add(name);
  }

  #finish(task: ModelTask, state: 'completed' | 'dead' | 'cancelled' | 'expired'): void {
    task.state = state;
    task.finishedAt = this.#clock();
    if (task.asked.unique?.until !== 'ttl') task.holdsKey = false;
    this.#regroup(task);
    if (state === 'dead') this.#queueOf(task).totals.dead += 1;
  }

  /** The task is gone, and so is the key that stored it. */
  #delete(task: ModelTask): void {
    this.#tasks.delete(task.asked.id);
    if (task.finishedAt === null) this.#regroup(task);
    if (this.#keyOf(task) && task.asked.idempotency) this.#queueOf(task).keys.delete(task.asked.idempotency.key);
  }

  /** The key that stored the task, unless another task has been stored by it since. */
  #keyOf(task: ModelTask): ModelKey | null {
    const key = task.asked.idempotency && this.#queueOf(task).keys.get(task.asked.idempotency.key);
    return key?.taskId === task.asked.id ? key : null;
  }

  #of(queue: string, state: TaskState | null): ModelTask[] {
    return [...this.#tasks.values()].filter((task) => task.queue === queue && (!state || task.state === state));
  }

  #queueOf(task: ModelTask): ModelQueue {
    return this.#queueOrNew(task.queue);
  }

  #config(task: ModelTask): QueueConfig {
    return queueConfig(this.#queueOf(task).settings);
  }

  #record(task: ModelTask): TaskRecord {
    return structuredClone(recordOf(task, this.#config(task).maxAttempts));
  }

  #stamped<Result>(results: readonly Result[]): port.Stamped<Result> {
    return { now: this.#clock(), dueAt: this.nextDue(), results };
  }
}

function byTurn(a: ModelTask, b: ModelTask): number {
  return b.asked.priority - a.asked.priority || (a.place ?? 0) - (b.place ?? 0);
}

function passed(time: number | null, now: number): boolean {
  return time !== null && time <= now;
}

function waits({ state }: ModelTask): boolean {
  return state === 'scheduled' || state === 'ready' || state === 'blocked';
}

function isEnd(state: TaskState): boolean {
  return state === 'completed' || state === 'dead' || state === 'cancelled' || state === 'expired';
}

function endOf(task: ModelTask): number {
  if (task.finishedAt === null) throw new Error(`a ${task.state} task has no end`);
  return task.finishedAt;
}

function least(times: readonly number[]): number | null {
  return times.length === 0 ? null : Math.min(...times);
}

/** A progress or checkpoint of JSON `null` is none. */
function orNull(text: JsonText): JsonText | null {
  return text === 'null' ? null : text;
}
