import type { DatabaseSync } from 'node:sqlite';
import type { TaskState, TerminalState } from '../../domain/task.ts';
import { type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';
import { decodeTask, TASK_COLUMNS, type Task, type TaskColumns } from './task-row.ts';

/** Neither leased nor finished. */
const WAITING = 'deadline IS NULL AND finished_at IS NULL';

/** Finished, and pruned by the age that its queue allows. */
const AGING = 'finished_at IS NOT NULL AND kept_until IS NULL';

/** What is due and when, of all queues: each question is one search in an index of just the tasks concerned. */
export class Agenda {
  readonly #scheduled: Query<TaskColumns>;
  readonly #leases: Query<TaskColumns>;
  readonly #ttls: Query<TaskColumns>;
  readonly #finished: Query<TaskColumns>;
  readonly #finishedBetween: Query<TaskColumns>;
  readonly #aging: Query<TaskColumns>;
  readonly #kept: Query<TaskColumns>;
  readonly #ofState: Query<TaskColumns>;
  readonly #oldestAging: Query<[finishedAt: number]>;
  readonly #oldestKept: Query<[finishedAt: number]>;
  readonly #firstKept: Query<[keptUntil: number]>;
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
    const aging = `INDEXED BY tasks_finished WHERE queue_no = ?1 AND state = ?2 AND ${AGING}`;
    const kept = 'INDEXED BY tasks_kept WHERE queue_no = ?1 AND state = ?2 AND kept_until IS NOT NULL';
    this.#finished = tasks(
      `${aging} AND finished_at <= ?3 UNION ALL SELECT ${TASK_COLUMNS} FROM tasks ${kept} AND finished_at <= ?3
        ORDER BY finished_at, seq LIMIT ?4 + 0`,
    );
    this.#aging = tasks(`${aging} AND finished_at <= ?3 ORDER BY finished_at, seq LIMIT ?4 + 0`);
    this.#kept = tasks(
      'INDEXED BY tasks_kept_until WHERE queue_no = ? AND kept_until <= ? ORDER BY kept_until, seq LIMIT ? + 0',
    );
    this.#finishedBetween = tasks(
      `${aging} AND finished_at <= ?3 AND (finished_at, seq) > (?4, ?5)
        UNION ALL SELECT ${TASK_COLUMNS} FROM tasks ${kept} AND finished_at <= ?3 AND (finished_at, seq) > (?4, ?5)
        ORDER BY finished_at, seq LIMIT ?6 + 0`,
    );
    this.#ofState = tasks('INDEXED BY tasks_state WHERE queue_no = ? AND state = ? ORDER BY seq LIMIT ? + 0');
    this.#oldestAging = time('finished_at', `${aging} ORDER BY finished_at LIMIT 1`);
    this.#oldestKept = time('finished_at', `${kept} ORDER BY finished_at LIMIT 1`);
    this.#firstKept = time(
      'kept_until',
      'INDEXED BY tasks_kept_until WHERE queue_no = ? AND kept_until IS NOT NULL ORDER BY kept_until LIMIT 1',
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

  /** The same of tasks without a retention of their own. */
  agingUntil(queue: Queue, state: TerminalState, until: number, limit: number): Task[] {
    return this.#aging.all(queue.no, state, until, limit).map(decodeTask);
  }

  /** Tasks of the queue with a retention of their own that is over, the first to be so first. */
  keptUntil(queue: Queue, now: number, limit: number): Task[] {
    return this.#kept.all(queue.no, now, limit).map(decodeTask);
  }

  /** When the first task with a retention of its own is to be pruned. */
  firstKeptUntil(queue: Queue): number | null {
    return this.#firstKept.get(queue.no)?.[0] ?? null;
  }

  /** When the first of the finished tasks without a retention of their own finished, and the first of those with one. */
  oldestFinished(queue: Queue, state: TerminalState): { aging: number | null; kept: number | null } {
    const aging = this.#oldestAging.get(queue.no, state)?.[0] ?? null;
    return { aging, kept: this.#oldestKept.get(queue.no, state)?.[0] ?? null };
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
