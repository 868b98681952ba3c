import type { DatabaseSync } from 'node:sqlite';
import { isTerminal, TASK_STATES, type TaskState } from '../../domain/task.ts';
import type { ListQuery, TaskPage } from '../store.ts';
import { type Order, type Position, readCursor, writeCursor } from './cursor.ts';
import type { Data } from './data.ts';
import { type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';

/** Tasks that a page looks at, at most, in search of a type. */
const MAX_EXAMINED = 2000;

type Found = [seq: number, finishedAt: number];

/** The queries behind lists: which tasks come next, read from indexes alone. */
export class Listing {
  readonly #ofQueue: Query<Found>;
  readonly #ofState: Query<Found>;
  readonly #finished: Query<Found>;
  readonly #type: Query<[type: string | null]>;

  constructor(db: DatabaseSync) {
    const ofState = (state: string) =>
      `SELECT seq, 0 FROM tasks INDEXED BY tasks_state WHERE queue_no = ?1 AND state = ${state} AND seq > ?2`;
    // SQLite merges the states' own orders as far as the limit goes.
    this.#ofQueue = query(
      db,
      `${TASK_STATES.map((state) => ofState(`'${state}'`)).join(' UNION ALL ')} ORDER BY seq LIMIT ?3 + 0`,
    );
    this.#ofState = query(db, `${ofState('?4')} ORDER BY seq LIMIT ?3 + 0`);
    this.#finished = query(
      db,
      `SELECT seq, finished_at FROM tasks INDEXED BY tasks_finished
        WHERE queue_no = ? AND state = ? AND finished_at IS NOT NULL AND (finished_at, seq) > (?, ?)
        ORDER BY finished_at, seq LIMIT ? + 0`,
    );
    this.#type = query(db, 'SELECT type FROM tasks WHERE seq = ?');
  }

  /** Up to `limit` tasks after a position, in the order of such a list. */
  after(queue: Queue, state: TaskState | null, position: Position, limit: number): Position[] {
    const found =
      state === null
        ? this.#ofQueue.all(queue.no, position.seq, limit)
        : isTerminal(state)
          ? this.#finished.all(queue.no, state, position.finishedAt, position.seq, limit)
          : this.#ofState.all(queue.no, position.seq, limit, state);
    return found.map(([seq, finishedAt]) => ({ seq, finishedAt }));
  }

  type(seq: number): string | null {
    return this.#type.get(seq)?.[0] ?? null;
  }
}

/** @throws InvalidCursor when the cursor is not one of such a list */
export function list(data: Data, { queue: name, state, type, limit, cursor }: ListQuery): TaskPage {
  const now = data.now();
  const order: Order = state !== null && isTerminal(state) ? 'finished' : 'created';
  const start = readCursor(order, cursor);
  const queue = data.queues.byName(name);
  if (queue === null) return { now, tasks: [], next: null };
  const examinable = type === null ? limit : MAX_EXAMINED;
  const found = data.listing.after(queue, state, start, examinable + 1);
  const wanted: Position[] = [];
  let examined = 0;
  for (const position of found.slice(0, examinable)) {
    if (wanted.length === limit) break;
    examined += 1;
    if (type === null || data.listing.type(position.seq) === type) wanted.push(position);
  }
  const last = found[examined - 1];
  return {
    now,
    tasks: wanted.map(({ seq }) => data.tasks.record(seq, queue)),
    next: examined < found.length && last !== undefined ? writeCursor(order, last) : null,
  };
}
