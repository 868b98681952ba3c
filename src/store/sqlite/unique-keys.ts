import type { DatabaseSync } from 'node:sqlite';
import { isTerminal, type TaskState } from '../../domain/task.ts';
import { stateByNow } from '../../domain/transitions.ts';
import { type Unique, UNIQUE_RELEASE, type UniqueUntil, uniqueElapsed } from '../../domain/unique.ts';
import { type Command, command, type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';
import { decodeTask, TASK_COLUMNS, type Task, type TaskColumns } from './task-row.ts';

/** What a task was stored with; what to do about a conflict is no part of it any more. */
export type KeptUnique = Omit<Unique, 'onConflict'>;

/** Who holds a key. */
export interface Holder {
  task: Task;
  /** What time has brought the task to, though its row may not say so yet. */
  state: TaskState;
  /** Whether the key is free all the same, once the row is brought up to date. */
  free: boolean;
}

/** Unique keys: each is held by the one row that has it, and gone with it. */
export class UniqueKeys {
  readonly #holder: Query<[...TaskColumns, until: UniqueUntil, ttlMs: number | null]>;
  readonly #of: Query<[key: string | null, until: UniqueUntil, ttlMs: number | null]>;
  readonly #keep: Command;
  readonly #hold: Command;

  constructor(db: DatabaseSync) {
    this.#holder = query(
      db,
      `SELECT ${TASK_COLUMNS}, unique_until, unique_ttl_ms FROM tasks INDEXED BY tasks_unique
        CROSS JOIN bodies ON bodies.seq = tasks.seq WHERE queue_no = ? AND unique_held = ?`,
    );
    this.#of = query(db, 'SELECT unique_key, unique_until, unique_ttl_ms FROM bodies WHERE seq = ?');
    this.#keep = command(db, 'UPDATE bodies SET unique_key = ?, unique_until = ?, unique_ttl_ms = ? WHERE seq = ?');
    this.#hold = command(db, 'UPDATE tasks SET unique_held = ? WHERE seq = ?');
  }

  /** Who holds the key, as time has it. Changes nothing. */
  holder(queue: Queue, key: string, now: number): Holder | null {
    const columns = this.#holder.get(queue.no, key);
    if (columns === undefined) return null;
    const [until, ttlMs] = columns.slice(-2) as [UniqueUntil, number | null];
    const task = decodeTask(columns.slice(0, -2) as TaskColumns);
    const { cancelRequested, expiresAt } = task;
    const exhausted = task.attempt >= (task.maxAttempts ?? queue.config.maxAttempts);
    const facts = { state: task.state, leaseExpiresAt: task.deadline, expiresAt, cancelRequested, exhausted };
    const state = stateByNow(facts, now);
    const ended = UNIQUE_RELEASE[until].end && isTerminal(state);
    return { task, state, free: ended || uniqueElapsed({ until, ttlMs }, task.createdAt, now) };
  }

  /** What the task was stored with. */
  of(task: Task): KeptUnique | null {
    const [key, until, ttlMs] = this.#of.get(task.seq) ?? [null, 'finished' as const, null];
    return key === null ? null : { key, until, ttlMs };
  }

  /** Keeps what a new task asks for, and lets it hold the key. */
  store(task: Task, { key, until, ttlMs }: Unique): void {
    this.#keep(key, until, ttlMs, task.seq);
    this.hold(task, key);
  }

  /** The key must be free. */
  hold(task: Task, key: string): void {
    task.uniqueHeld = key;
    this.#hold(key, task.seq);
  }

  letGo(task: Task): void {
    task.uniqueHeld = null;
    this.#hold(null, task.seq);
  }

  /** Lets go of a key that was held until now. */
  release(task: Task, at: 'start' | 'end'): void {
    const unique = this.of(task);
    if (unique !== null && UNIQUE_RELEASE[unique.until][at]) this.letGo(task);
  }
}
