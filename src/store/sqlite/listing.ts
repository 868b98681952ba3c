import type { DatabaseSync } from 'node:sqlite';
import { isTerminal, TASK_STATES, type TaskState } from '../../domain/task.ts';
import type { ListOrder, ListQuery, TaskPage } from '../store.ts';
import { type Order, type Position, readCursor, writeCursor } from './cursor.ts';
import type { Data } from './data.ts';
import { type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';

/** Tasks that a page looks at, at most, in search of what it wants. */
const MAX_EXAMINED = 2000;
/** Bytes of payloads that a page reads past, at most: what stands behind them in a row is read with them. */
const MAX_PASSED_BYTES = 16_777_216;

type Found = [seq: number, finishedAt: number];

/** The queries of lists in one order. */
interface Walk {
  ofQueue: Query<Found>;
  ofState: Query<Found>;
  finished: Query<Found>;
}

/** Tasks with numbers between two, neither included, finished after a time. */
interface Range {
  above: number;
  below: number;
  finishedAfter: number;
}

/** The queries behind lists: which tasks come next, read from indexes alone, and what is asked of each. */
export class Listing {
  readonly #walks: Readonly<Record<ListOrder, Walk>>;
  readonly #highest: Query<[seq: number | null]>;
  readonly #createdFrom: Query<[seq: number, createdAt: number]>;
  readonly #type: Query<[type: string | null]>;
  readonly #tags: Query<[tags: string | null, bytes: number]>;
  readonly #errorCode: Query<[code: string | null]>;

  constructor(db: DatabaseSync) {
    this.#walks = {
      oldest: prepareWalk(db, '>', '<', 'ASC'),
      newest: prepareWalk(db, '<', '>', 'DESC'),
    };
    this.#highest = query(db, 'SELECT max(seq) FROM tasks');
    this.#createdFrom = query(db, 'SELECT seq, created_at FROM tasks WHERE seq >= ? ORDER BY seq LIMIT 1');
    this.#type = query(db, 'SELECT type FROM tasks WHERE seq = ?');
    this.#tags = query(db, 'SELECT tags, octet_length(payload) FROM bodies WHERE seq = ?');
    this.#errorCode = query(db, 'SELECT error_code FROM notes WHERE seq = ?');
  }

  /** Up to `limit` tasks after a position, in the order of such a list, as far as the range goes. */
  after(
    queue: Queue,
    state: TaskState | null,
    order: Order,
    position: Position,
    range: Range,
    limit: number,
  ): Position[] {
    const { ofQueue, ofState, finished } = this.#walks[order.first];
    const { from, until } = bounds(order, position, range);
    const found =
      order.by === 'finished'
        ? finished.all(queue.no, state, from.finishedAt, from.seq, until.finishedAt, limit)
        : state === null
          ? ofQueue.all(queue.no, from.seq, until.seq, limit)
          : ofState.all(queue.no, from.seq, until.seq, limit, state);
    return found.map(([seq, finishedAt]) => ({ seq, finishedAt }));
  }

  /**
   * The number from which on tasks were created at `time` or later, found by halves: numbers are in order of creation,
   * and the clock of the store is taken not to go back.
   */
  createdFrom(time: number): number {
    let low = 1;
    let high = (this.#highest.get()?.[0] ?? 0) + 1;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const [seq, createdAt] = this.#createdFrom.get(middle) ?? [high, Number.POSITIVE_INFINITY];
      if (createdAt < time) low = seq + 1;
      else high = middle;
    }
    return low;
  }

  type(seq: number): string | null {
    return this.#type.get(seq)?.[0] ?? null;
  }

  /** The tags of a task, and the bytes of the payload that stands before them. */
  tags(seq: number): { tags: readonly string[]; passed: number } {
    const [tags, passed] = this.#tags.get(seq) ?? [null, 0];
    return { tags: tags === null ? [] : (JSON.parse(tags) as string[]), passed: tags === null ? 0 : passed };
  }

  errorCode(seq: number): string | null {
    return this.#errorCode.get(seq)?.[0] ?? null;
  }
}

function prepareWalk(db: DatabaseSync, after: '<' | '>', before: '<' | '>', direction: 'ASC' | 'DESC'): Walk {
  const ofState = (state: string) =>
    `SELECT seq, 0 FROM tasks INDEXED BY tasks_state
      WHERE queue_no = ?1 AND state = ${state} AND seq ${after} ?2 AND seq ${before} ?3`;
  const ofEnded = (index: string, among: string) =>
    `SELECT seq, finished_at FROM tasks INDEXED BY ${index} WHERE queue_no = ?1 AND state = ?2 AND ${among}
      AND (finished_at, seq) ${after} (?3, ?4) AND finished_at ${before} ?5`;
  // SQLite merges the states' own orders as far as the limit goes.
  const states = TASK_STATES.map((state) => ofState(`'${state}'`)).join(' UNION ALL ');
  return {
    ofQueue: query(db, `${states} ORDER BY seq ${direction} LIMIT ?4 + 0`),
    ofState: query(db, `${ofState('?5')} ORDER BY seq ${direction} LIMIT ?4 + 0`),
    finished: query(
      db,
      `${ofEnded('tasks_finished', 'finished_at IS NOT NULL AND kept_until IS NULL')}
        UNION ALL ${ofEnded('tasks_kept', 'kept_until IS NOT NULL')}
        ORDER BY finished_at ${direction}, seq ${direction} LIMIT ?6 + 0`,
    ),
  };
}

/** Between which positions, neither included, a list goes on: each of a query's two bounds is the tightest there is. */
function bounds({ by, first }: Order, position: Position, range: Range): { from: Position; until: Position } {
  const { above, below, finishedAfter } = range;
  const end = Number.MAX_SAFE_INTEGER;
  if (first === 'newest') {
    const seq = by === 'created' ? Math.min(position.seq, below) : position.seq;
    return { from: { ...position, seq }, until: { finishedAt: finishedAfter, seq: above } };
  }
  const until = { finishedAt: end, seq: below };
  if (by === 'created') return { from: { ...position, seq: Math.max(position.seq, above) }, until };
  return { from: position.finishedAt > finishedAfter ? position : { finishedAt: finishedAfter, seq: end }, until };
}

/** What was created in the times asked for; it finished no sooner. */
function rangeOf({ listing }: Data, { createdAfter, createdBefore }: ListQuery): Range {
  return {
    above: typeof createdAfter === 'number' ? listing.createdFrom(createdAfter) - 1 : 0,
    below: typeof createdBefore === 'number' ? listing.createdFrom(createdBefore) : Number.MAX_SAFE_INTEGER,
    finishedAfter: typeof createdAfter === 'number' ? createdAfter - 1 : -1,
  };
}

/** What a page looks for among the tasks that come next. */
class Search {
  readonly #listing: Listing;
  readonly #asked: ListQuery;
  readonly #range: Range;
  #passed = 0;

  constructor({ listing }: Data, asked: ListQuery, range: Range) {
    this.#listing = listing;
    this.#asked = asked;
    this.#range = range;
  }

  /** Whether any task will do. */
  get any(): boolean {
    const { type, tag = null, errorCode = null, createdAfter = null, createdBefore = null } = this.#asked;
    return [type, tag, errorCode, createdAfter, createdBefore].every((filter) => filter === null);
  }

  /** Whether the page has read past as much as it may. */
  get exhausted(): boolean {
    return this.#passed >= MAX_PASSED_BYTES;
  }

  wants(seq: number): boolean {
    const { type, tag = null, errorCode = null } = this.#asked;
    if (seq <= this.#range.above || seq >= this.#range.below) return false;
    if (type !== null && this.#listing.type(seq) !== type) return false;
    if (errorCode !== null && this.#listing.errorCode(seq) !== errorCode) return false;
    if (tag === null) return true;
    const { tags, passed } = this.#listing.tags(seq);
    this.#passed += passed;
    return tags.includes(tag);
  }
}

/** @throws InvalidCursor when the cursor is not one of such a list */
export function list(data: Data, asked: ListQuery): TaskPage {
  const { state, limit, order: first = 'oldest' } = asked;
  const now = data.now();
  const order: Order = { by: state !== null && isTerminal(state) ? 'finished' : 'created', first };
  const start = readCursor(order, asked.cursor);
  const queue = data.queues.byName(asked.queue);
  if (queue === null) return { now, tasks: [], next: null };
  const range = rangeOf(data, asked);
  const search = new Search(data, asked, range);
  const examinable = search.any ? limit : MAX_EXAMINED;
  const found = data.listing.after(queue, state, order, start, range, examinable + 1);
  const wanted: Position[] = [];
  let examined = 0;
  for (const position of found.slice(0, examinable)) {
    if (wanted.length === limit || search.exhausted) break;
    examined += 1;
    if (search.wants(position.seq)) wanted.push(position);
  }
  const last = found[examined - 1];
  return {
    now,
    tasks: wanted.map(({ seq }) => data.tasks.record(seq, queue)),
    next: examined < found.length && last !== undefined ? writeCursor(order, last) : null,
  };
}
