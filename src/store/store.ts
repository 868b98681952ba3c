import type { JsonText } from '../domain/json-text.ts';
import type { DeadFilter, OperationState } from '../domain/operation.ts';
import type { ProblemCode } from '../domain/problems.ts';
import type { QueueConfig, QueueSettings } from '../domain/queue.ts';
import type { Grant, NewTask, StateCounts, TaskRecord, TaskState } from '../domain/task.ts';
import type { EndingVerb } from '../domain/transitions.ts';

/**
 * The port. Every mutation takes an array and answers an array in the same order. Expected outcomes are
 * values; a {@link StoreError} means that the outcome is unknown (`unavailable`) or that nothing was done
 * (`full`). Times are ms since the epoch by the store's clock.
 *
 * It is longer than a file should be: all that a driver has to do is in one place.
 */
export interface Store {
  /** Whether other processes may work on the same data: then their changes have to be looked for. */
  readonly shared: boolean;
  /** Tells what no reply does; null where nothing is told. */
  readonly wakes: Wakes | null;

  /** Opens or makes the data. Throws {@link StoreRefusal} with one clear line when it must not be used. */
  open(): Promise<void>;
  close(): Promise<void>;

  /** What the store is and how safe it really is right now, read from the store itself. */
  describe(): Promise<StoreDescription>;
  /** How much room there is in its memory; a part of it that does not answer is taken to be as it was. Cheap enough for once a second. */
  memory(): Promise<StoreMemory>;
  /**
   * A copy of all that is stored as of one moment, made while calls go on. `busy` while another one is made or read; null where
   * copies are the business of the server that has the data.
   * @param signal when it is aborted a copy that is being made is given up, with a {@link StoreError} (`closed`)
   */
  backup(signal: AbortSignal): Promise<Backup | 'busy' | null>;
  /** Runs a real operation, writes included. Throws when tasks could not be stored and leased. */
  check(): Promise<void>;

  /** A fresh id for a task of this queue: it sorts by time and says where the task will live. */
  newTaskId(queue: string): string;
  /** Each call is stored whole or not at all, and does not affect the others. Storing an id again changes nothing. */
  enqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueOutcome>>;
  /** Whether calls would be refused, without storing anything: for requests that span several calls. */
  tryEnqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueRefusal | null>>;
  /**
   * Grants in the order of the calls; none from an unknown or paused queue. A call with the request id of an earlier
   * one answers those of that one's leases that still run, and grants nothing new unless there are none. Never more
   * than the limits of the queue allow at the moment.
   */
  lease(calls: readonly LeaseCall[]): Promise<Granted>;
  /** Leases that still run of earlier calls with these request ids, in the order of their grants. Changes nothing. */
  recall(calls: readonly RecallCall[]): Promise<Stamped<readonly Grant[]>>;
  /**
   * Before leases that this process was granted under request ids are given back: from now on they are not found under
   * the id. False where a call from another process has found them, which tells of them: then nothing is changed.
   */
  disown(calls: readonly DisownCall[]): Promise<Stamped<boolean>>;
  settle(items: readonly SettleItem[]): Promise<Stamped<SettleOutcome>>;

  cancel(items: readonly CancelItem[]): Promise<Stamped<CancelOutcome>>;
  redrive(ids: readonly string[]): Promise<Stamped<RedriveOutcome>>;
  remove(ids: readonly string[]): Promise<Stamped<RemoveOutcome>>;

  get(ids: readonly string[]): Promise<Stamped<TaskRecord | null>>;
  list(query: ListQuery): Promise<TaskPage>;

  queues(query: { after: string | null; limit: number }): Promise<QueuePage>;
  queue(name: string): Promise<{ now: number; queue: QueueRecord | null }>;
  /** Makes the queue when it does not exist. `replace`: what is left out returns to the default. */
  configure(name: string, settings: QueueSettings, mode: 'replace' | 'merge'): Promise<ConfigureOutcome>;
  /** False when there is no such queue. */
  setPaused(name: string, paused: boolean): Promise<boolean>;
  /**
   * Deletes up to `limit` (at most 1000) tasks in `state`: finished ones oldest first, others in whatever order the
   * store has at hand. `leased` too: their tokens are dead.
   */
  purge(name: string, state: TaskState, limit: number): Promise<{ purged: number }>;
  /**
   * Deletes the queue and its finished tasks of up to one bounded step; `more` until nothing is left of it. A step that answers
   * `not_empty` deletes nothing, but those before it may have.
   */
  dropQueue(name: string): Promise<'deleted' | 'more' | 'not_empty' | 'not_found'>;

  /**
   * How many dead tasks of a queue match, up to `limit` of them looked at, behind a position: null for the first, and `next` of
   * the answer before for more. Changes nothing.
   */
  countDead(query: DeadQuery): Promise<DeadCount>;

  /**
   * Begins to redrive the dead tasks of a queue, there or into another one. Nothing is redriven by it: {@link stepOperations} does
   * that. Storing an id again changes nothing, and answers the operation as it is.
   */
  createOperations(operations: readonly NewOperation[]): Promise<Stamped<CreateOperationOutcome>>;
  /** Null for those that there are not, or that ended more than a day ago. */
  operations(ids: readonly string[]): Promise<Stamped<OperationRecord | null>>;
  /**
   * One bounded step of each: redrives the next of its tasks, in the order in which they died, and notes how far it has come in the
   * same breath. A task whose unique key another one holds stays dead. Any process may take any step; while one has lately
   * taken one, the steps of others do nothing.
   *
   * A task that is redriven into another queue is stored there as a new task, as {@link enqueue} would, and is gone from its own as if
   * retention had taken it: neither lost nor doubled, whatever becomes of the process or of a reply meanwhile. While it is on its
   * way it is found in neither queue, though it counts as dead. Where that queue is full, or another task there holds its unique
   * key, it stays dead: the first ends the step and is tried again later, the second counts as dealt with.
   */
  stepOperations(steps: readonly OperationStep[]): Promise<Stamped<OperationStepped | null>>;
  /** Ends those that run, and answers each as it is then: none of its tasks is on its way any more. */
  cancelOperations(ids: readonly string[]): Promise<Stamped<OperationRecord | null>>;
  /** Forgets operations; those that run are ended first. */
  forgetOperations(ids: readonly string[]): Promise<Stamped<boolean>>;
  /** Operations of all processes that run, or that were cancelled and may still have tasks on their way; of the parts of the data that answer. */
  runningOperations(): Promise<readonly OperationRecord[]>;

  /**
   * One bounded step of everything that time brings about, wherever it is due: promotes due tasks, takes
   * back expired leases, expires tasks past their ttl, prunes what retention no longer keeps. Safe to run in
   * any number of processes at once. Where a part of the data does not answer the rest is swept all the same, and the report says why;
   * a {@link StoreError} is thrown when nothing could be.
   */
  sweep(): Promise<SweepReport>;
}

/**
 * Word of what other processes make ready in the same data, and of what ends, whoever or whatever ends it. A wake-up may be
 * lost, so whoever relies on it asks now and then all the same.
 */
export interface Wakes {
  /**
   * Who is told that a task may have become ready in a watched queue that was empty, or that a lease has left room for
   * one in a watched queue with `maxConcurrency`; one listener.
   */
  onReady(listener: (queue: string) => void): void;
  /** From now on the listener hears of this queue; at least once, when watching has begun. */
  watch(queue: string): void;
  unwatch(queue: string): void;
  /**
   * Who is told that a task somebody watches has reached a terminal state or was deleted; null when it may be any of them.
   * One listener.
   */
  onFinished(listener: (id: string | null) => void): void;
  /** Word of this task's end is wanted for a while. Resolves when word of an end that comes later will be heard. */
  watchTask(id: string, queue: string, forMs: number): Promise<void>;
}

/** What every reply carries. */
export interface Stamped<Result> {
  now: number;
  /** When the earliest of what this call touched falls due; null when nothing will. */
  dueAt: number | null;
  results: readonly Result[];
}

/** One atomic enqueue to one queue: 1–1000 tasks. */
export interface EnqueueCall {
  queue: string;
  tasks: readonly NewTask[];
}

/**
 * Why nothing of a call was stored: what is wrong with its first task that is at fault. `indexes` are the places in the call of all that are at
 * fault in the same way; of `queue_full`, of the first that has no room.
 * - `idempotency_key_reused`: its key was used before with another body
 * - `unique_conflict`: another task holds its unique key, and it asked to be refused then
 * - `queue_full`: the queue's `maxBacklog` has no room for it
 */
export interface EnqueueRefusal {
  outcome: 'idempotency_key_reused' | 'unique_conflict' | 'queue_full';
  indexes: readonly number[];
}

/**
 * What became of one task of a call. Tasks of a call are judged in their order, each after what the ones before it have
 * changed. An idempotency key is looked at first; an entry that stores nothing uses up no key.
 */
export interface EnqueuedTask {
  task: TaskRecord;
  /** The task is the one that the idempotency key stored first, as it is now or as it ended. */
  replayed: boolean;
  /** The task is the one that holds the unique key. */
  deduplicated: boolean;
}

export type EnqueueOutcome =
  | EnqueueRefusal
  | {
      outcome: 'stored';
      /** In order. */
      tasks: readonly EnqueuedTask[];
      /** Tasks that ended so that a unique key came free: replaced, or found to be overdue. Left out when there are none. */
      ended?: readonly string[];
    };

export interface LeaseCall {
  queue: string;
  /** Minted by the caller, unguessable; the token of every grant of this call. */
  token: string;
  /** 1–100. */
  max: number;
  leaseMs: number | null;
  workerId: string | null;
  /** Names the call for whoever may have lost its reply; null where nobody will ask again. */
  requestId: string | null;
}

export interface Granted extends Stamped<readonly Grant[]> {
  /** Queues in which ready tasks were kept from a call by a limit, as it was after the last call; left out when none were. */
  held?: readonly HeldQueue[];
  /** Queues in which a grant, or the end of a task that could not be granted, has let others become ready; left out when none. */
  readied?: readonly string[];
}

export interface HeldQueue {
  queue: string;
  /** When the rate limit allows the next grant; null when a lease has to end first, of which {@link Wakes} tell. */
  opensAt: number | null;
}

export interface RecallCall {
  queue: string;
  requestId: string;
}

export interface DisownCall extends RecallCall {
  /** Of the grants: those of a later call with the id are left alone. */
  token: string;
}

interface SettleBase {
  id: string;
  token: string;
}

export type SettleItem =
  | (SettleBase & { verb: 'ack'; result: JsonText | null })
  | (SettleBase & {
      verb: 'nack';
      error: { code: string | null; message: string | null; details: JsonText | null } | null;
      retryable: boolean;
      /** Instead of the backoff; 0 puts the task at the back of its line at once. */
      delayMs: number | null;
      /** Uniform in [0, 1), for the backoff's jitter. */
      random: number;
    })
  | (SettleBase & { verb: 'release'; delayMs: number | null })
  | (SettleBase & {
      verb: 'heartbeat';
      /** Null: as long as the lease was granted for. */
      leaseMs: number | null;
      /** No attempt is extended beyond this after its grant. */
      maxRuntimeMs: number;
      progress: JsonText | null;
      checkpoint: JsonText | null;
    });

/**
 * `readied` is the task's queue where, beyond what the state of an accepted settle says, something in it may be granted
 * now: its lease was found to have run out and it became ready, though the verb was refused; or its lease ended, and that
 * leaves room for ready tasks in a queue with `maxConcurrency`; or another task of its group became ready.
 */
export type SettleOutcome =
  | {
      outcome: 'settled';
      queue: string;
      /** As of this settle, or, when `replayed`, as of the first one. */
      state: TaskState;
      attempt: number;
      late: boolean;
      replayed: boolean;
      /** When the task runs next, for nack and release. */
      runAt: number;
      /** The new deadline of a heartbeat; null otherwise. */
      leaseExpiresAt: number | null;
      cancelRequested: boolean;
      readied?: string;
    }
  | { outcome: 'refused'; code: ProblemCode; readied?: string };

export interface CancelItem {
  id: string;
  reason: string | null;
  force: boolean;
}

/** `readied` as in {@link SettleOutcome}. */
export type CancelOutcome =
  /** `requested`: a worker holds it and is told at its next heartbeat. */
  | { outcome: 'cancelled' | 'requested'; task: TaskRecord; readied?: string }
  | { outcome: 'refused'; code: ProblemCode; readied?: string };

export type RedriveOutcome = { outcome: 'redriven'; task: TaskRecord } | { outcome: 'refused'; code: ProblemCode };

export type RemoveOutcome = { outcome: 'removed' } | { outcome: 'refused'; code: ProblemCode };

/**
 * A page of one queue's tasks. Terminal states are listed in the order in which tasks finished, all else in the
 * order in which they were created, or the other way round; all are stable while tasks move. A page may hold fewer
 * than `limit` tasks, even none, and still have a next one: the cost of a page is bounded, not its yield. What was
 * created outside the times that are asked for is not looked at one by one, as far as the order of the list tells.
 */
export interface ListQuery {
  queue: string;
  state: TaskState | null;
  type: string | null;
  /** One of the task's tags; null or left out for any. */
  tag?: string | null;
  /** The code of the last error; null or left out for any. */
  errorCode?: string | null;
  /** Created at this time or later, in ms since the epoch; null or left out for any. */
  createdAfter?: number | null;
  /** Created before this time; null or left out for any. */
  createdBefore?: number | null;
  /** Left out: oldest first. */
  order?: ListOrder;
  limit: number;
  /** `next` of the page before, which is opaque and made by the same store; null for the first page. */
  cursor: string | null;
}

/** Which end of a list comes first. */
export type ListOrder = 'oldest' | 'newest';

export interface TaskPage {
  now: number;
  tasks: readonly TaskRecord[];
  next: string | null;
}

/** What happened since the queue was made. */
export interface QueueTotals {
  enqueued: number;
  leased: number;
  acked: number;
  nacked: number;
  released: number;
  expired: number;
  dead: number;
}

export type { StateCounts };

export interface QueueRecord {
  name: string;
  paused: boolean;
  createdAt: number;
  settings: QueueSettings;
  config: QueueConfig;
  counts: StateCounts;
  totals: QueueTotals;
  /** Since when (`runAt`) the task at the head of a line has been ready, the earliest of all priorities. */
  oldestReadyAt: number | null;
  /** When the next scheduled task is due. */
  nextRunAt: number | null;
  /** When the rate limit allows the next grant; null when it does now, or there is none. */
  rateOpensAt: number | null;
  /**
   * Whether a blocked task is of a group of which another one is leased, as far as 100 of the leases tell. Looked at where none is ready and some
   * are scheduled, false otherwise.
   */
  blockedByLease: boolean;
}

export interface QueuePage {
  now: number;
  /** In byte order of their names. */
  queues: readonly QueueRecord[];
  next: string | null;
}

export interface ConfigureOutcome {
  now: number;
  created: boolean;
  queue: QueueRecord;
}

export interface DeadQuery {
  queue: string;
  filter: DeadFilter;
  position: string | null;
  /** At most 128. */
  limit: number;
}

export interface DeadCount {
  matched: number;
  seen: number;
  /** Null at the end. */
  next: string | null;
}

/** A redrive of many. Tasks that die after it was made are left alone, so that it comes to an end. */
export interface NewOperation {
  /** Minted by {@link Store.newTaskId}. */
  id: string;
  queue: string;
  /** The queue that they go to, made when it is not there; null: their own. */
  to: string | null;
  filter: DeadFilter;
  /** How many tasks that match are dealt with at most. */
  max: number | null;
  ratePerSec: number | null;
}

/** The operation as it is stored, or why there is none. */
export type CreateOperationOutcome = OperationRecord | 'queue_not_found' | 'too_many';

export interface OperationRecord {
  id: string;
  queue: string;
  /** The queue that they go to; null: their own. */
  to: string | null;
  state: OperationState;
  createdAt: number;
  finishedAt: number | null;
  ratePerSec: number | null;
  /** Dead tasks that were looked at. */
  seen: number;
  /** Those that there were at the start, or as many as it may deal with; what was seen, once it is completed. */
  total: number;
  matched: number;
  /** Those of the matching ones that were redriven. */
  moved: number;
}

export interface OperationStep {
  id: string;
  /** Tasks to be redriven at most, 1–128; where they go to another queue, tasks to be dealt with. */
  limit: number;
  /**
   * Where they go to another queue: ids for what comes into it, as many as the limit, minted for that queue. The first task that is
   * dealt with gets the first one, and so on. None otherwise.
   */
  ids: readonly string[];
}

export interface OperationStepped {
  operation: OperationRecord;
  /** When the next step can do something: after the reply's `now` only where something holds it up. Null when the operation has ended. */
  nextAt: number | null;
  /** The step met a queue without room for the next task: the one after it may as well try a single one. */
  full: boolean;
}

export interface SweepReport {
  now: number;
  /** When the next step is due as far as this process knows; at or before `now` when work is left. */
  dueAt: number | null;
  promoted: number;
  reclaimed: number;
  expired: number;
  pruned: number;
  /** Queues in which tasks became ready, or in which a lease ended that leaves room for ready ones. */
  readied: readonly string[];
  /** Why a part of the data could not be swept, which later steps try again; left out when all could. */
  failure?: Error;
}

/**
 * What a loss of power or of a process can cost: spec'd words, `none` being the worst. `unknown` is for what the store does not let
 * us find out.
 */
export type Durability = 'none' | 'unknown' | 'everysec' | 'always' | `replicated:${number}` | 'full' | 'normal';

export interface StoreDescription {
  /** For people: "SQLite 3.53.4", "Redis 7.0.15". */
  product: string;
  /** Where, without credentials. */
  location: string;
  durability: Durability;
  /** What that means, and what an operator could do about it. */
  note: string;
  /**
   * What was asked of it and does not hold now, and what to do: whatever promises it is then refused as `unavailable`. Null when all
   * holds.
   */
  unmet: string | null;
}

export interface StoreMemory {
  /** The part that is in use, 1 being all of it; null where it has no bound. */
  used: number | null;
  /** Whether the store may throw away what it holds to make room. */
  evicts: boolean;
}

/** Surprises of a store. The message is for the log, never for a client. */
export class StoreError extends Error {
  /** `unavailable`: the outcome is unknown. `full`: no room, nothing was done. `closed`: the store is being shut. */
  readonly kind: 'unavailable' | 'full' | 'closed';

  constructor(kind: StoreError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreError';
    this.kind = kind;
  }
}

/** Why a store must not be used; the message is the one line that an operator needs. */
export class StoreRefusal extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreRefusal';
  }
}

/** A copy of all that is stored, which takes room until it is discarded. */
export interface Backup {
  bytes: number;
  chunks: AsyncIterable<Uint8Array>;
  /** To be called in the end, read or not. Does nothing the second time. */
  discard(): Promise<void>;
}

/** The outcome of the verb that ended a grant, kept so that a repeated call gets the same answer. */
export interface FirstOutcome {
  verb: EndingVerb;
  state: TaskState;
  attempt: number;
  runAt: number;
  late: boolean;
}

/** A cursor that no page of this store and list has answered. */
export class InvalidCursor extends Error {
  constructor() {
    super('the cursor is not one that a page of this list has answered');
    this.name = 'InvalidCursor';
  }
}
