import type { JsonText } from '../../src/domain/json-text.ts';
import type { QueueSettings } from '../../src/domain/queue.ts';
import type { NewTask, TaskError, TaskRecord, TaskState } from '../../src/domain/task.ts';
import type { FirstOutcome, QueueTotals } from '../../src/store/store.ts';

/** A task of the model: every fact in a field of its own, nothing derived. */
export interface ModelTask {
  readonly asked: NewTask;
  readonly queue: string;
  /** Order of creation within the queue. */
  readonly seq: number;
  readonly createdAt: number;
  state: TaskState;
  /** Where it stands in its line, or stood before it was leased; null before it was ever ready. */
  place: number | null;
  /** Where it stands in the line of its group; while it waits for its time, only if it keeps its place there. */
  groupPlace: number | null;
  attempt: number;
  deliveries: number;
  runAt: number;
  expiresAt: number | null;
  finishedAt: number | null;
  /** Of the latest grant; null before the first one and after a redrive. */
  token: string | null;
  /** What ended the latest grant, and how. */
  first: FirstOutcome | null;
  grant: Grant | null;
  progress: JsonText | null;
  checkpoint: JsonText | null;
  result: JsonText | null;
  lastError: TaskError | null;
  cancelRequested: boolean;
  /** Whether it holds its unique key, as far as time has not taken that away. */
  holdsKey: boolean;
}

interface Grant {
  readonly number: number;
  readonly at: number;
  readonly lengthMs: number;
  readonly workerId: string | null;
  requestId: string | null;
  deadline: number;
}

/** The first use of an idempotency key. */
export interface ModelKey {
  readonly fingerprint: string;
  readonly usedAt: number;
  readonly taskId: string;
  /** What is left of its task after retention pruned it. */
  pruned: TaskRecord | null;
}

export interface ModelQueue {
  readonly name: string;
  readonly createdAt: number;
  paused: boolean;
  settings: QueueSettings;
  /** The last number given out for a creation or a place at the back. */
  counter: number;
  /** The last number given out for a grant. */
  grants: number;
  readonly totals: QueueTotals;
  /** When the last grants were made under a rate limit: as many as it was at the last of them. */
  rateLog: readonly number[];
  /** Whether its groups may run more than when they were last looked at. */
  regroup: boolean;
  readonly keys: Map<string, ModelKey>;
}

/** The task as it is handed out. */
export function recordOf(task: ModelTask, queueMaxAttempts: number): TaskRecord {
  const { asked, grant } = task;
  return {
    id: asked.id,
    queue: task.queue,
    type: asked.type,
    state: task.state,
    priority: asked.priority,
    payload: asked.payload,
    tags: asked.tags,
    metadata: asked.metadata,
    groupKey: asked.groupKey,
    uniqueKey: asked.unique?.key ?? null,
    attempt: task.attempt,
    maxAttempts: asked.maxAttempts ?? queueMaxAttempts,
    deliveries: task.deliveries,
    createdAt: task.createdAt,
    runAt: task.runAt,
    expiresAt: task.expiresAt,
    finishedAt: task.finishedAt,
    lease: task.state === 'leased' && grant ? { workerId: grant.workerId, expiresAt: grant.deadline } : null,
    progress: task.progress,
    checkpoint: task.checkpoint,
    result: task.result,
    lastError: task.lastError,
    cancelRequested: task.cancelRequested,
    trace: asked.trace,
  };
}

/**
 * What a replay answers once the task itself is pruned: what the request says again, and what was kept.
 * @param pruned the task as it was pruned
 */
export function rebuiltRecord(asked: NewTask, pruned: TaskRecord, queueMaxAttempts: number): TaskRecord {
  return {
    ...pruned,
    maxAttempts: asked.maxAttempts ?? queueMaxAttempts,
    type: asked.type,
    priority: asked.priority,
    payload: asked.payload,
    tags: asked.tags,
    metadata: asked.metadata,
    groupKey: asked.groupKey,
    uniqueKey: asked.unique?.key ?? null,
    trace: asked.trace,
    progress: null,
    checkpoint: null,
    result: null,
    lastError: null,
    cancelRequested: false,
  };
}
