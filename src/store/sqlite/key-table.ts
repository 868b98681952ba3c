import type { DatabaseSync } from 'node:sqlite';
import { LIMITS } from '../../domain/limits.ts';
import type { NewTask, TaskRecord, TerminalState } from '../../domain/task.ts';
import { type Command, command, type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';

/** What is kept of a task that retention has pruned, for replays of its key. */
export interface KeptTask {
  state: TerminalState;
  createdAt: number;
  runAt: number;
  expiresAt: number | null;
  finishedAt: number;
  attempt: number;
  deliveries: number;
}

export interface IdempotencyKey {
  fingerprint: string;
  taskId: string;
  /** Null while the task is stored. */
  kept: KeptTask | null;
}

type Columns = [
  fingerprint: string,
  expiresAt: number,
  taskId: string,
  state: TerminalState | null,
  createdAt: number,
  runAt: number,
  keptExpiresAt: number | null,
  finishedAt: number,
  attempt: number,
  deliveries: number,
];

/** Idempotency keys by queue. A key that its window has passed counts as absent, whether deleted yet or not. */
export class KeyTable {
  readonly #find: Query<Columns>;
  readonly #put: Command;
  readonly #keep: Command;
  readonly #free: Command;
  readonly #deleteExpired: Command;
  readonly #deleteOfQueue: Command;
  readonly #nextExpiry: Query<[expiresAt: number]>;

  constructor(db: DatabaseSync) {
    this.#find = query(
      db,
      `SELECT fingerprint, expires_at, task_id, kept_state, kept_created_at, kept_run_at, kept_expires_at,
        kept_finished_at, kept_attempt, kept_deliveries FROM idempotency_keys WHERE queue_no = ? AND key = ?`,
    );
    this.#put = command(
      db,
      'INSERT OR REPLACE INTO idempotency_keys (queue_no, key, fingerprint, expires_at, task_id) VALUES (?, ?, ?, ?, ?)',
    );
    this.#keep = command(
      db,
      `UPDATE idempotency_keys SET kept_state = ?, kept_created_at = ?, kept_run_at = ?, kept_expires_at = ?,
        kept_finished_at = ?, kept_attempt = ?, kept_deliveries = ? WHERE queue_no = ? AND key = ? AND task_id = ?`,
    );
    this.#free = command(db, 'DELETE FROM idempotency_keys WHERE queue_no = ? AND key = ? AND task_id = ?');
    this.#deleteExpired = command(
      db,
      `DELETE FROM idempotency_keys WHERE (queue_no, key) IN (
        SELECT queue_no, key FROM idempotency_keys INDEXED BY idempotency_keys_expiry
        WHERE expires_at <= ? ORDER BY expires_at LIMIT ? + 0)`,
    );
    this.#deleteOfQueue = command(
      db,
      `DELETE FROM idempotency_keys WHERE (queue_no, key) IN (
        SELECT queue_no, key FROM idempotency_keys WHERE queue_no = ? LIMIT ? + 0)`,
    );
    this.#nextExpiry = query(
      db,
      'SELECT expires_at FROM idempotency_keys INDEXED BY idempotency_keys_expiry ORDER BY expires_at LIMIT 1',
    );
  }

  find(queue: Queue, key: string, now: number): IdempotencyKey | null {
    const columns = this.#find.get(queue.no, key);
    if (columns === undefined || columns[1] <= now) return null;
    const [fingerprint, , taskId, state, createdAt, runAt, expiresAt, finishedAt, attempt, deliveries] = columns;
    return {
      fingerprint,
      taskId,
      kept: state === null ? null : { state, createdAt, runAt, expiresAt, finishedAt, attempt, deliveries },
    };
  }

  /** Opens the window of a key with the task it stores. */
  put(queue: Queue, { key, fingerprint }: { key: string; fingerprint: string }, taskId: string, now: number): void {
    this.#put(queue.no, key, fingerprint, now + LIMITS.idempotencyWindowMs, taskId);
  }

  /** Keeps of a task about to be pruned what a replay of its key needs. */
  keep(task: Task, key: string): void {
    this.#keep(
      task.state,
      task.createdAt,
      task.runAt,
      task.expiresAt,
      task.finishedAt,
      task.attempt,
      task.deliveries,
      task.queueNo,
      key,
      task.id,
    );
  }

  /** Frees the key of a deleted task, unless another task holds it by now. */
  free(task: Task, key: string): void {
    this.#free(task.queueNo, key, task.id);
  }

  /** Deletes up to `limit` keys whose window has passed; answers how many. */
  deleteExpired(now: number, limit: number): number {
    return this.#deleteExpired(now, limit);
  }

  /** Deletes up to `limit` keys of a queue; answers how many. */
  deleteOfQueue(queue: Queue, limit: number): number {
    return this.#deleteOfQueue(queue.no, limit);
  }

  nextExpiry(): number | null {
    return this.#nextExpiry.get()?.[0] ?? null;
  }
}

/** The task that a key stored first, rebuilt from the same request after retention has pruned it. */
export function rebuild(asked: NewTask, taskId: string, kept: KeptTask, queue: Queue): TaskRecord {
  return {
    id: taskId,
    queue: queue.name,
    type: asked.type,
    state: kept.state,
    priority: asked.priority,
    payload: asked.payload,
    tags: asked.tags,
    metadata: asked.metadata,
    groupKey: asked.groupKey,
    uniqueKey: asked.unique?.key ?? null,
    attempt: kept.attempt,
    maxAttempts: asked.maxAttempts ?? queue.config.maxAttempts,
    deliveries: kept.deliveries,
    createdAt: kept.createdAt,
    runAt: kept.runAt,
    expiresAt: kept.expiresAt,
    finishedAt: kept.finishedAt,
    lease: null,
    progress: null,
    checkpoint: null,
    result: null,
    lastError: null,
    cancelRequested: false,
    trace: asked.trace,
  };
}
