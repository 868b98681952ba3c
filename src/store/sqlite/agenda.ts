import type { DatabaseSync } from 'node:sqlite';
import type { TaskState, TerminalState } from '../../domain/task.ts';
import { type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';
import { decodeTask, TASK_COLUMNS, type Task, type TaskColumns } from './task-row.ts';

/** Neither leased nor finished. */
const WAITING = 'deadline IS NULL AND finished_at IS NULL';

/** What is due and when, of all queues: each question is one search in an index of just the tasks concerned. */
export class Agenda {
  readonly #scheduled: Query<TaskColumns>;
  readonly #leases: Query<TaskColumns>;
  readonly #ttls: Query<TaskColumns>;
  readonly #finished: Query<TaskColumns>;
  readonly #finishedBetween: Query<TaskColumns>;
  readonly #ofState: Query<TaskColumns>;
  readonly #oldestFinished: Query<[finishedAt: number]>;
  readonly #next: readonly Query<[at: number]>[];

  constructor(db: DatabaseSync) {
    const tasks = (rest: string) => query<TaskColumns>(db, `SELECT ${TASK_COLUMNS} FROM tasks ${rest}`);
    const time = (column: string, rest: string) => query<[at: number]>(db, `SELECT ${column} FROM tasks ${rest}`);
    this.#scheduled = tasks(
      `INDEXED BY tasks_due WHERE state = 'scheduled' AND run_at <= ? ORDER BY run_at, seq LIMIT ? + 0`,
    );
    this.#leases = tasks(
      `INDEXED BY tasks_deadline WHERE state = 'leased' AND deadline <= ? ORDER BY deadline, grant_no LIMIT ? + 0`,
    );
    this.#ttls = tasks(
      `INDEXED BY tasks_ttl WHERE ${WAITING} AND expires_at <= ? ORDER BY expires_at, seq LIMIT ? + 0`,
    );
    this.#finished = tasks(
      `INDEXED BY tasks_finished WHERE queue_no = ? AND state = ? AND finished_at <= ? ORDER BY finished_at, seq LIMIT ? + 0`,
    );
    this.#finishedBetween = tasks(
      `INDEXED BY tasks_finished WHERE queue_no = ? AND state = ? AND finished_at <= ? AND (finished_at, seq) > (?, ?)
        ORDER BY finished_at, seq LIMIT ? + 0`,
    );
    this.#ofState = tasks('INDEXED BY tasks_state WHERE queue_no = ? AND state = ? ORDER BY seq LIMIT ? + 0');
    this.#oldestFinished = time(
      'finished_at',
      `INDEXED BY tasks_finished WHERE queue_no = ? AND state = ? AND finished_at IS NOT NULL
        ORDER BY finished_at LIMIT 1`,
    );
    this.#next = [
      time('run_at', `INDEXED BY tasks_due WHERE state = 'scheduled' ORDER BY run_at LIMIT 1`),
      time('deadline', `INDEXED BY tasks_deadline WHERE state = 'leased' ORDER BY deadline LIMIT 1`),
      time(
        'expires_at',
        `INDEXED BY tasks_ttl WHERE ${WAITING} AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1`,
      ),
    ];
  }

  /** Scheduled tasks whose time has come, the earliest first. */
  scheduledUntil(now: number, limit: number): Task[] {
    return this.#scheduled.all(now, limit).map(decodeTask);
  }

  /** Tasks whose lease has run out, in the order of their deadlines and grants. */
  leasesUntil(now: number, limit: number): Task[] {
    return this.#leases.all(now, limit).map(decodeTask);
  }

  /** Waiting tasks whose ttl has passed. */
  ttlsUntil(now: number, limit: number): Task[] {
    return this.#ttls.all(now, limit).map(decodeTask);
  }

  /** Tasks of the queue that finished in `state` at `until` or before, in the order in which they did. */
  finishedUntil(queue: Queue, state: TerminalState, until: number, limit: number): Task[] {
    return this.#finished.all(queue.no, state, until, limit).map(decodeTask);
  }

  /** The same, behind the one that finished at `after` and has the number `seq`. */
  finishedBetween(
    queue: Queue,
    state: TerminalState,
    after: number,
    seq: number,
    until: number,
    limit: number,
  ): Task[] {
    return this.#finishedBetween.all(queue.no, state, until, after, seq, limit).map(decodeTask);
  }

  /** Tasks of the queue in `state`, in the order in which they were created. */
  ofState(queue: Queue, state: TaskState, limit: number): Task[] {
    return this.#ofState.all(queue.no, state, limit).map(decodeTask);
  }

  oldestFinished(queue: Queue, state: TerminalState): number | null {
    return this.#oldestFinished.get(queue.no, state)?.[0] ?? null;
  }

  /** When the next task is due, a lease runs out or a ttl passes, whichever is first. */
  next(): number | null {
    let next: number | null = null;
    for (const first of this.#next) {
      const at = first.get()?.[0];
      if (at !== undefined && (next === null || at < next)) next = at;
    }
    return next;
  }
}
