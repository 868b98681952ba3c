import type { DatabaseSync } from 'node:sqlite';
import type { Backoff } from '../../domain/backoff.ts';
import { JSON_NULL, type JsonText } from '../../domain/json-text.ts';
import { LIMITS } from '../../domain/limits.ts';
import type { NewTask, TaskError, TaskRecord } from '../../domain/task.ts';
import { type Command, command, type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';
import {
  DETAIL_JOIN,
  decodeDetails,
  decodeTask,
  FULL_COLUMNS,
  type FullColumns,
  TASK_COLUMNS,
  type Task,
  type TaskColumns,
  type TaskDetails,
  toRecord,
} from './task-row.ts';

/** The tasks themselves: one at a time by id, and the head of a line. */
export class TaskTable {
  readonly #byId: Query<TaskColumns>;
  readonly #has: Query<[one: number]>;
  readonly #fullById: Query<FullColumns>;
  readonly #fullBySeq: Query<FullColumns>;
  readonly #head: Query<FullColumns>;
  readonly #ofRequest: Query<FullColumns>;
  readonly #forgetRequest: Command;
  readonly #backoff: Query<[backoff: string | null]>;
  readonly #errorCode: Query<[code: string | null]>;
  readonly #size: Query<[bytes: number]>;
  readonly #insert: Command;
  readonly #insertBody: Command;
  readonly #save: Command;
  readonly #grant: Command;
  readonly #complete: Command;
  readonly #extend: Command;
  readonly #setRetention: Command;
  readonly #keepUntil: Command;
  readonly #delete: Command;
  readonly #deleteBody: Query<[idempotencyKey: string | null]>;
  readonly #deleteNotes: Command;
  readonly #copyNotes: Command;
  readonly #setError: Command;
  readonly #setProgress: Command;
  readonly #setCheckpoint: Command;
  readonly #setResult: Command;

  constructor(db: DatabaseSync) {
    this.#byId = query(db, `SELECT ${TASK_COLUMNS} FROM tasks WHERE id = ?`);
    this.#has = query(db, 'SELECT 1 FROM tasks WHERE id = ?');
    this.#fullById = query(db, `SELECT ${FULL_COLUMNS} FROM tasks ${DETAIL_JOIN} WHERE id = ?`);
    this.#fullBySeq = query(db, `SELECT ${FULL_COLUMNS} FROM tasks ${DETAIL_JOIN} WHERE tasks.seq = ?`);
    this.#head = query(
      db,
      `SELECT ${FULL_COLUMNS} FROM tasks INDEXED BY tasks_line ${DETAIL_JOIN}
        WHERE queue_no = ? AND state = 'ready' ORDER BY priority DESC, place LIMIT ? + 0`,
    );
    this.#ofRequest = query(
      db,
      `SELECT ${FULL_COLUMNS} FROM tasks INDEXED BY tasks_request ${DETAIL_JOIN}
        WHERE queue_no = ? AND request_id = ? AND state = 'leased' AND deadline > ? ORDER BY grant_no LIMIT ? + 0`,
    );
    this.#forgetRequest = command(
      db,
      'UPDATE tasks INDEXED BY tasks_request SET request_id = NULL WHERE queue_no = ? AND request_id = ?',
    );
    this.#backoff = query(db, 'SELECT backoff FROM bodies WHERE seq = ?');
    this.#errorCode = query(db, 'SELECT error_code FROM notes WHERE seq = ?');
    this.#size = query(
      db,
      `SELECT octet_length(payload) + ifnull(octet_length(progress), 0) + ifnull(octet_length(checkpoint), 0)
        + ifnull(octet_length(error_details), 0) FROM bodies LEFT JOIN notes ON notes.seq = bodies.seq WHERE bodies.seq = ?`,
    );
    this.#insert = command(
      db,
      `INSERT INTO tasks (seq, id, queue_no, state, priority, place, type, max_attempts, lease_ms,
        created_at, run_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    );
    this.#insertBody = command(
      db,
      `INSERT INTO bodies (seq, payload, tags, metadata, traceparent, tracestate, backoff, idempotency_key)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#save = command(
      db,
      `UPDATE tasks SET state = ?, place = ?, attempt = ?, run_at = ?, expires_at = ?, finished_at = ?,
        token = ?, deadline = ?, cancel_requested = ?, settled_by = ?,
        outcome_state = ?, outcome_attempt = ?, outcome_run_at = ?, outcome_late = ? WHERE seq = ?`,
    );
    this.#grant = command(
      db,
      `UPDATE tasks SET state = 'leased', attempt = ?, deliveries = ?, token = ?, worker_id = ?, request_id = ?, granted_at = ?,
        grant_no = ?, lease_length = ?, deadline = ?, settled_by = NULL, outcome_state = NULL WHERE seq = ?`,
    );
    this.#complete = command(
      db,
      `UPDATE tasks SET state = 'completed', place = NULL, deadline = NULL, finished_at = ?, settled_by = 'ack',
        outcome_state = 'completed', outcome_attempt = ?, outcome_run_at = ?, outcome_late = ? WHERE seq = ?`,
    );
    this.#extend = command(db, `UPDATE tasks SET deadline = ? WHERE seq = ? AND state = 'leased'`);
    this.#setRetention = command(db, 'UPDATE tasks SET retention_ms = ? WHERE seq = ?');
    this.#keepUntil = command(db, 'UPDATE tasks SET kept_until = ? WHERE seq = ?');
    this.#delete = command(db, 'DELETE FROM tasks WHERE seq = ?');
    this.#deleteBody = query(db, 'DELETE FROM bodies WHERE seq = ? RETURNING idempotency_key');
    this.#deleteNotes = command(db, 'DELETE FROM notes WHERE seq = ?');
    this.#copyNotes = command(
      db,
      `INSERT INTO notes (seq, error_code, error_message, error_details, error_attempt, error_at, progress, checkpoint)
        SELECT tasks.seq, error_code, error_message, error_details, error_attempt, error_at, progress, checkpoint
        FROM notes CROSS JOIN tasks WHERE tasks.id = ? AND notes.seq = ?`,
    );
    this.#setError = command(
      db,
      `INSERT INTO notes (seq, error_code, error_message, error_details, error_attempt, error_at)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (seq) DO UPDATE SET error_code = excluded.error_code, error_message = excluded.error_message,
          error_details = excluded.error_details, error_attempt = excluded.error_attempt, error_at = excluded.error_at`,
    );
    const setNote = (column: string) =>
      command(
        db,
        `INSERT INTO notes (seq, ${column}) VALUES (?, ?) ON CONFLICT (seq) DO UPDATE SET ${column} = excluded.${column}`,
      );
    this.#setProgress = setNote('progress');
    this.#setCheckpoint = setNote('checkpoint');
    this.#setResult = setNote('result');
  }

  has(id: string): boolean {
    return this.#has.get(id) !== undefined;
  }

  byId(id: string): Task | null {
    const columns = this.#byId.get(id);
    return columns === undefined ? null : decodeTask(columns);
  }

  fullById(id: string): { task: Task; details: TaskDetails } | null {
    const columns = this.#fullById.get(id);
    return columns === undefined ? null : { task: decodeTask(columns), details: decodeDetails(columns) };
  }

  /** The stored task as the port shows it. */
  record(seq: number, queue: Queue): TaskRecord {
    const columns = this.#fullBySeq.get(seq);
    if (columns === undefined) throw new Error(`task ${seq} has no row or no body`);
    return toRecord(decodeTask(columns), decodeDetails(columns), queue);
  }

  /** Up to `limit` ready tasks from the head of the queue's line, in order. */
  head(queueNo: number, limit: number): { task: Task; details: TaskDetails }[] {
    return this.#head
      .all(queueNo, limit)
      .map((columns) => ({ task: decodeTask(columns), details: decodeDetails(columns) }));
  }

  /** From now on the request id names no grant. */
  forgetRequest(queueNo: number, requestId: string): void {
    this.#forgetRequest(queueNo, requestId);
  }

  /** Leases of one request that run until after `now`, in the order of their grants. */
  ofRequest(queueNo: number, requestId: string, now: number): { task: Task; details: TaskDetails }[] {
    return this.#ofRequest
      .all(queueNo, requestId, now, LIMITS.maxLease)
      .map((columns) => ({ task: decodeTask(columns), details: decodeDetails(columns) }));
  }

  /** The task's own backoff; null when it follows its queue. */
  backoff(task: Task): Backoff | null {
    const text = this.#backoff.get(task.seq)?.[0] ?? null;
    return text === null ? null : (JSON.parse(text) as Backoff);
  }

  /** The code of the task's last error. */
  errorCode(task: Task): string | null {
    return this.#errorCode.get(task.seq)?.[0] ?? null;
  }

  /** Bytes of the task's payload and of what workers said of it, none of which is read for this. */
  size(task: Task): number {
    return this.#size.get(task.seq)?.[0] ?? 0;
  }

  /** Stores a new task; false, and nothing stored, when there is one of this id. */
  insert(task: Task, asked: NewTask): boolean {
    const stored = this.#insert(
      task.seq,
      task.id,
      task.queueNo,
      task.state,
      task.priority,
      task.place,
      task.type,
      task.maxAttempts,
      task.leaseMs,
      task.createdAt,
      task.runAt,
      task.expiresAt,
    );
    if (stored === 0) return false;
    this.#insertBody(
      task.seq,
      asked.payload,
      asked.tags.length === 0 ? null : JSON.stringify(asked.tags),
      Object.keys(asked.metadata).length === 0 ? null : JSON.stringify(asked.metadata),
      asked.trace?.traceparent ?? null,
      asked.trace?.tracestate ?? null,
      asked.backoff === null ? null : JSON.stringify(asked.backoff),
      asked.idempotency?.key ?? null,
    );
    if (task.retentionMs !== null) this.#setRetention(task.retentionMs, task.seq);
    return true;
  }

  /** Writes all of a task that may have changed since it was read, but for what {@link grant} writes. */
  save(task: Task): void {
    this.#save(
      task.state,
      task.place,
      task.attempt,
      task.runAt,
      task.expiresAt,
      task.finishedAt,
      task.token,
      task.deadline,
      task.cancelRequested ? 1 : 0,
      task.settledBy,
      task.outcome?.state ?? null,
      task.outcome?.attempt ?? null,
      task.outcome?.runAt ?? null,
      task.outcome === null ? null : Number(task.outcome.late),
      task.seq,
    );
  }

  /** Writes what a grant changes. `requestId` is that of the call which it was granted to. */
  grant(task: Task, requestId: string | null): void {
    this.#grant(
      task.attempt,
      task.deliveries,
      task.token,
      task.workerId,
      requestId,
      task.grantedAt,
      task.grantNo,
      task.leaseLength,
      task.deadline,
      task.seq,
    );
  }

  /** Writes what an ack changes: less work than {@link save}, for the commonest end of all. */
  complete(task: Task, late: boolean): void {
    this.#complete(task.finishedAt, task.attempt, task.runAt, late ? 1 : 0, task.seq);
  }

  /** Writes the deadline of a task that is leased and stays so. */
  extend(task: Task): void {
    this.#extend(task.deadline, task.seq);
  }

  /** Writes until when a task with a retention of its own is kept; null while it has not ended. */
  keepUntil(task: Task, time: number | null): void {
    this.#keepUntil(time, task.seq);
  }

  /** Deletes a task; answers the idempotency key it was stored with. */
  delete(task: Task): string | null {
    this.#delete(task.seq);
    this.#deleteNotes(task.seq);
    return this.#deleteBody.get(task.seq)?.[0] ?? null;
  }

  /** Has a new task tell the progress, checkpoint and last error of another one. */
  copyNotes(from: Task, id: string): void {
    this.#copyNotes(id, from.seq);
  }

  setError(task: Task, error: TaskError): void {
    this.#setError(task.seq, error.code, error.message, error.details, error.attempt, error.at);
  }

  /** @param progress the JSON value `null` clears it */
  setProgress(task: Task, progress: JsonText): void {
    this.#setProgress(task.seq, progress === JSON_NULL ? null : progress);
  }

  /** @param checkpoint the JSON value `null` clears it */
  setCheckpoint(task: Task, checkpoint: JsonText): void {
    this.#setCheckpoint(task.seq, checkpoint === JSON_NULL ? null : checkpoint);
  }

  setResult(task: Task, result: JsonText): void {
    this.#setResult(task.seq, result);
  }
}
