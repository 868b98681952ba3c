import type { Logger } from 'pino';
import { type DeadFilter, OPERATION_STEP, tasksPerStep } from '../domain/operation.ts';
import type {
  CreateOperationOutcome,
  DeadCount,
  NewOperation,
  OperationRecord,
  OperationStepped,
  Store,
} from '../store/store.ts';
import type { Pace } from './pace.ts';
import type { StoreClock } from './store-clock.ts';

/** So many tasks are redriven while the request waits; more is an operation that goes on after its reply. */
const AT_ONCE = 1000;
/** So many dead tasks are looked at while the request waits. */
const SEEN_AT_ONCE = 10_000;
/** So many dead tasks a dry run looks at. */
const MAX_COUNTED = 100_000;
/** How long a failed step waits before the next try. */
const RETRY_MS = 1000;
/** How often operations that other processes began are looked for, in case those are gone. */
const LOOK_MS = 5000;
/** No longer than this passes until an operation is looked at again. */
const MAX_SLEEP_MS = 60_000;

/** What a redrive of many is asked for. */
export interface RedriveRequest {
  /** The queue that they go to; null: their own. */
  to: string | null;
  filter: DeadFilter;
  /** How many tasks that match are dealt with at most. */
  max: number | null;
  ratePerSec: number | null;
  /** Counts, and changes nothing. */
  dryRun: boolean;
}

export type RedriveReply =
  /** `more`: a dry run has stopped counting; at least as many match. */
  | { outcome: 'done'; matched: number; moved: number; more: boolean }
  | { outcome: 'begun'; operation: OperationRecord }
  | { outcome: 'queue_not_found' | 'too_many' };

/** A step that was taken. */
interface Stepped extends OperationStepped {
  /** The next one has to wait, by the clock that this one went by: another part of the store may have one that differs. */
  heldUp: boolean;
}

/** An operation as this process knows it. */
interface Running {
  ratePerSec: number | null;
  to: string | null;
  /** The queue that they go to had no room. */
  full: boolean;
  at: number;
}

/**
 * Redrives of many. Whatever has to be known of one is in the store, progress included, and noted there together with what each step has
 * done: any process may go on with it, and one that was killed loses and doubles nothing.
 */
export class Operations {
  readonly #store: Store;
  readonly #clock: StoreClock;
  readonly #pace: Pace;
  readonly #log: Logger;
  readonly #onRedriven: (queue: string) => void;
  /** Those that run, as far as this process knows, and when each can go on, by the store's clock. */
  readonly #running = new Map<string, Running>();
  #lookAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<void> | null = null;
  #started = false;
  /** What has failed and not yet succeeded again: an operation, or null for the look at the store. */
  readonly #failing = new Set<string | null>();

  constructor(
    store: Store,
    parts: { clock: StoreClock; pace: Pace; log: Logger; onRedriven: (queue: string) => void },
  ) {
    this.#store = store;
    this.#clock = parts.clock;
    this.#pace = parts.pace;
    this.#log = parts.log;
    this.#onRedriven = parts.onRedriven;
  }

  /** Goes on with whatever was under way when no process was running. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#schedule();
  }

  /** Ends after the step under way; what is left waits for the next start, or for another process. */
  async stop(): Promise<void> {
    this.#started = false;
    clearTimeout(this.#timer);
    await this.#turn;
  }

  async redrive(queue: string, request: RedriveRequest): Promise<RedriveReply> {
    if (request.dryRun) return this.#count(queue, request);
    const { filter, max, ratePerSec } = request;
    const to = request.to === queue ? null : request.to;
    const id = this.#store.newTaskId(queue);
    const created = await this.#create({ id, queue, to, filter, max, ratePerSec });
    if (created === 'queue_not_found' || created === 'too_many') return { outcome: created };
    // A small one is done with its reply, and nobody has to ask for it.
    const { operation, nextAt } = ratePerSec === null ? await this.#atOnce(created) : { operation: created, nextAt: 0 };
    if (nextAt === null) {
      await this.#forget(id);
      return { outcome: 'done', matched: operation.matched, moved: operation.moved, more: false };
    }
    this.#expect(operation, nextAt);
    return { outcome: 'begun', operation };
  }

  /** One that may have been stored although the call failed is looked for like those of other processes. */
  async #create(asked: NewOperation): Promise<CreateOperationOutcome> {
    try {
      const [created] = (await this.#store.createOperations([asked])).results;
      if (created === undefined) throw new Error('a store has not said what became of an operation');
      return created;
    } catch (error) {
      this.#lookAt = Math.min(this.#lookAt, this.#clock.now() + RETRY_MS);
      if (this.#turn === null) this.#schedule();
      throw error;
    }
  }

  /**
   * Takes the steps that a request waits for. It is stored already: where a step fails, what was done stays, and the rest is done later.
   * Answers when it can go on; null: it has ended.
   */
  async #atOnce(created: OperationRecord): Promise<{ operation: OperationRecord; nextAt: number | null }> {
    const { id, to } = created;
    let operation = created;
    let left = AT_ONCE;
    let reached = 0;
    while (left > 0) {
      let stepped: Stepped | null;
      try {
        stepped = await this.#step(id, Math.min(left, tasksPerStep(null, to !== null)), to);
      } catch (error) {
        return { operation, nextAt: this.#failed(id, error) };
      }
      if (stepped === null) throw new Error(`operation ${id} has gone while it was being made`);
      operation = stepped.operation;
      if (stepped.nextAt === null) return { operation, nextAt: null };
      const { matched, seen } = operation;
      // A step that came no further is not taken again at once, whatever holds it up.
      const stuck = seen + matched === reached;
      reached = seen + matched;
      left = stepped.heldUp || stuck || seen >= SEEN_AT_ONCE ? 0 : AT_ONCE - matched;
    }
    return { operation, nextAt: 0 };
  }

  /** An operation that is not forgotten is kept for a while like any other, which harms nobody. */
  async #forget(id: string): Promise<void> {
    try {
      await this.#store.forgetOperations([id]);
    } catch (error) {
      this.#log.warn({ err: error, id }, 'an operation that is done is kept for a while, though its reply said it all');
    }
  }

  async get(id: string): Promise<OperationRecord | null> {
    return (await this.#store.operations([id])).results[0] ?? null;
  }

  async cancel(id: string): Promise<OperationRecord | null> {
    return (await this.#store.cancelOperations([id])).results[0] ?? null;
  }

  async #count(queue: string, { filter, max }: RedriveRequest): Promise<RedriveReply> {
    const found = await this.#store.queue(queue);
    if (found.queue === null) return { outcome: 'queue_not_found' };
    const most = max ?? Number.POSITIVE_INFINITY;
    let matched = 0;
    if (filter.type === null && filter.errorCode === null && filter.diedBefore === null) {
      matched = found.queue.counts.dead;
      return { outcome: 'done', matched: Math.min(matched, most), moved: 0, more: false };
    }
    let seen = 0;
    let position: string | null = null;
    do {
      const from: string | null = position;
      const step: DeadCount = await this.#pace.step(() =>
        this.#store.countDead({ queue, filter, position: from, limit: OPERATION_STEP }),
      );
      matched += step.matched;
      seen += step.seen;
      position = step.next;
    } while (position !== null && matched < most && seen < MAX_COUNTED);
    const more = position !== null && matched < most;
    return { outcome: 'done', matched: Math.min(matched, most), moved: 0, more };
  }

  async #step(id: string, limit: number, to: string | null): Promise<Stepped | null> {
    const { now, results } = await this.#pace.step(async () => {
      const ids = to === null ? [] : Array.from({ length: limit }, () => this.#store.newTaskId(to));
      const answered = await this.#store.stepOperations([{ id, limit, ids }]);
      this.#clock.heard(answered.now);
      return answered;
    });
    const stepped = results[0] ?? null;
    if (stepped !== null && stepped.operation.moved > 0) this.#onRedriven(to ?? stepped.operation.queue);
    return stepped && { ...stepped, heldUp: (stepped.nextAt ?? now) > now };
  }

  /** The operation can go on at a time. */
  #expect({ id, ratePerSec, to }: OperationRecord, at: number): void {
    this.#running.set(id, { ratePerSec, to, full: false, at });
    if (this.#turn === null) this.#schedule();
  }

  #nextAt(): number {
    return Math.min(this.#lookAt, ...[...this.#running.values()].map(({ at }) => at));
  }

  #schedule(): void {
    if (!this.#started) return;
    clearTimeout(this.#timer);
    const now = this.#clock.now();
    const at = this.#nextAt();
    this.#timer = setTimeout(
      () => {
        this.#turn = this.#go().finally(() => {
          this.#turn = null;
          this.#schedule();
        });
      },
      Math.min(Math.max(0, at - now), MAX_SLEEP_MS),
    );
  }

  /** One look at the store when it is time, and one step of each operation that can go on. */
  async #go(): Promise<void> {
    if (this.#lookAt <= this.#clock.now()) await this.#attempt(null, () => this.#look());
    for (const [id, known] of this.#running) {
      if (!this.#started) return;
      if (known.at > this.#clock.now()) continue;
      const limit = known.full ? 1 : tasksPerStep(known.ratePerSec, known.to !== null);
      await this.#attempt(id, async () => {
        const stepped = await this.#step(id, limit, known.to);
        if (stepped === null || stepped.nextAt === null) this.#running.delete(id);
        else this.#running.set(id, { ...known, full: stepped.full, at: stepped.nextAt });
      });
    }
  }

  /** What fails is tried again after a while, and holds up nothing else. */
  async #attempt(id: string | null, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#failing.delete(id);
    } catch (error) {
      const at = this.#failed(id, error);
      const failed = id === null ? undefined : this.#running.get(id);
      if (id !== null && failed !== undefined) this.#running.set(id, { ...failed, at });
      if (id === null) this.#lookAt = at;
    }
  }

  /** Answers when what has failed is tried again. */
  #failed(id: string | null, error: unknown): number {
    if (!this.#failing.has(id)) {
      this.#log.warn({ err: error }, 'a redrive of many waits until the store answers again; trying every second');
    }
    this.#failing.add(id);
    return this.#clock.now() + RETRY_MS;
  }

  async #look(): Promise<void> {
    // Whoever wants the next look sooner says so meanwhile.
    this.#lookAt = this.#store.shared ? this.#clock.now() + LOOK_MS : Number.POSITIVE_INFINITY;
    const found = await this.#store.runningOperations();
    for (const { id, ratePerSec, to } of found) {
      if (!this.#running.has(id)) this.#running.set(id, { ratePerSec, to, full: false, at: 0 });
    }
  }
}
