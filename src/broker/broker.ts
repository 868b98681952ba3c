import type { ProblemCode } from '../domain/problems.ts';
import type { QueueSettings } from '../domain/queue.ts';
import type { Grant, NewTask, TaskRecord, TaskState } from '../domain/task.ts';
import type {
  Backup,
  CancelItem,
  CancelOutcome,
  ConfigureOutcome,
  EnqueuedTask,
  EnqueueRefusal,
  ListQuery,
  OperationRecord,
  QueuePage,
  QueueRecord,
  RedriveOutcome,
  RemoveOutcome,
  SettleItem,
  SettleOutcome,
  StoreDescription,
  TaskPage,
} from '../store/store.ts';
import type { RedriveReply, RedriveRequest } from './operations.ts';

/** One task to be stored; the broker mints its id. */
export interface EnqueueEntry {
  queue: string;
  task: Omit<NewTask, 'id'>;
}

export type EnqueueResult =
  | ({ outcome: 'stored' } & EnqueuedTask)
  /** The store failed, or refused what it would have taken a moment before, after entries of other queues were stored. */
  | { outcome: 'failed'; code: ProblemCode };

/** What is late, or short of room. */
export type Pressure = 'event_loop' | 'heap' | 'store' | 'eviction';

export type EnqueueReply =
  /** Nothing was stored: these entries are at fault. */
  | { outcome: 'refused'; code: EnqueueRefusal['outcome']; indexes: readonly number[] }
  /** Nothing was stored: no new tasks are taken for the moment. */
  | { outcome: 'under_pressure'; pressure: Pressure }
  /** In order. `failed` entries occur only when there are several queues; otherwise the call throws. */
  | { outcome: 'stored'; results: readonly EnqueueResult[] };

/** Whether a client has gone. An AbortSignal is one. */
export interface Departure {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { once: true }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export interface LeaseRequest {
  /** 1–32. */
  queues: readonly string[];
  /** `strict`: earlier queues first. `fair`: in turn with the other calls that name these queues, at this process. */
  order: 'strict' | 'fair';
  max: number;
  /** How long to wait for a first task; 0 answers at once. */
  waitMs: number;
  leaseMs: number | null;
  workerId: string | null;
  /** A call with the id of an earlier one gets that one's leases again, as far as they still run. */
  requestId: string | null;
  /** Aborted when the client is gone: the waiter leaves, and what was granted meanwhile is given back. */
  signal: Departure;
}

export type LeaseReply = { outcome: 'granted'; grants: readonly Grant[] } | { outcome: 'too_many_waiters' };

/** A settle as it comes from a worker: what the broker adds (jitter, limits) is left out. */
export type SettleRequest = SettleItem extends infer Item
  ? Item extends SettleItem
    ? Omit<Item, 'random' | 'maxRuntimeMs'>
    : never
  : never;

export type AckRequest = Extract<SettleRequest, { verb: 'ack' }>;

/** What to lease together with an ack, from the same queue. */
export interface NextLease {
  max: number;
  leaseMs: number | null;
  workerId: string | null;
}

/**
 * What the broker does, free of HTTP. Every method may throw a StoreError: `unavailable` means that the
 * outcome is unknown, `full` that there is no room.
 */
export interface Broker {
  /** The store's clock as last heard, carried forward by this process's monotonic clock; ms since the epoch. */
  now(): number;

  enqueue(entries: readonly EnqueueEntry[]): Promise<EnqueueReply>;
  /** Answers as soon as there is at least one task, or with none when the wait has run out or the broker stops. */
  lease(request: LeaseRequest): Promise<LeaseReply>;
  /** A reply with these grants was written. To be told of every reply that has some, or {@link giveBack}. */
  delivered(grants: readonly Grant[]): void;
  /**
   * Returns tasks whose grant never reached the worker, by this reply or another: attempt and place are as before.
   * Never throws.
   */
  giveBack(grants: readonly Grant[]): Promise<void>;
  settle(items: readonly SettleRequest[]): Promise<{ now: number; results: readonly SettleOutcome[] }>;
  /**
   * Acknowledges a task and, where asked to, leases more from its queue. A repeated ack answers those of its first
   * outcome that still run. The ack stands whatever becomes of the lease.
   */
  ack(
    request: AckRequest,
    next: NextLease | null,
  ): Promise<{ now: number; outcome: SettleOutcome; grants: readonly Grant[] }>;

  cancel(item: CancelItem): Promise<CancelOutcome>;
  redrive(id: string): Promise<RedriveOutcome>;
  remove(id: string): Promise<RemoveOutcome>;

  task(id: string): Promise<TaskRecord | null>;
  /**
   * The task once it is terminal, or as it is when the wait has run out, the client has gone or the broker stops; null
   * when there is none.
   */
  finishedTask(id: string, waitMs: number, signal: Departure): Promise<TaskRecord | null | 'too_many_waiters'>;
  tasks(query: ListQuery): Promise<TaskPage>;

  queues(query: { after: string | null; limit: number }): Promise<QueuePage>;
  queue(name: string): Promise<{ now: number; queue: QueueRecord | null }>;
  /** Long-polls parked in this process for the queue. */
  waiters(queue: string): number;
  configureQueue(name: string, settings: QueueSettings, mode: 'replace' | 'merge'): Promise<ConfigureOutcome>;
  /** False when there is no such queue. */
  pauseQueue(name: string): Promise<boolean>;
  resumeQueue(name: string): Promise<boolean>;
  /** In bounded steps; tasks that come in meanwhile may stay. Null when there is no such queue. */
  purgeQueue(name: string, states: readonly TaskState[]): Promise<Partial<Record<TaskState, number>> | null>;
  /** `force` deletes its tasks too, leased ones included. */
  deleteQueue(name: string, force: boolean): Promise<'deleted' | 'not_empty' | 'not_found'>;

  /** Redrives the dead tasks of a queue: a small number at once, more as an operation. */
  redriveMany(queue: string, request: RedriveRequest): Promise<RedriveReply>;
  /** Null when there is none, or when it ended long ago. */
  operation(id: string): Promise<OperationRecord | null>;
  /** Stops one that runs, and answers it as it is then. */
  cancelOperation(id: string): Promise<OperationRecord | null>;

  /** Why new tasks are refused for the moment; null when they are not. */
  pressure(): Pressure | null;
  /** For readiness: throws what is wrong with the store. */
  check(): Promise<void>;
  describe(): Promise<StoreDescription>;
  /** A copy of all that is stored; see the port. */
  backup(): Promise<Backup | 'busy' | null>;

  /** Starts the reaper and the guard against pressure, and goes on with operations that have not ended. */
  start(): void;
  /** No more waiting: parked polls get their empty answer, new ones do not park. Settles still work. */
  drain(): void;
  /** Ends all of them after the step under way. The store stays open. */
  stop(): Promise<void>;
}
