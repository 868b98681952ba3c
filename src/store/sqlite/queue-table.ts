import type { DatabaseSync } from 'node:sqlite';
import { type QueueConfig, type QueueSettings, queueConfig } from '../../domain/queue.ts';
import { type StateCounts, TASK_STATES, type TaskState } from '../../domain/task.ts';
import type { QueueTotals } from '../store.ts';
import { type Command, command, type Query, query } from './query.ts';

/** A queue as it is in memory; whoever changes it says so with {@link QueueTable.touch}. */
export interface Queue {
  readonly no: number;
  readonly name: string;
  readonly createdAt: number;
  paused: boolean;
  settings: QueueSettings;
  config: QueueConfig;
  counts: StateCounts;
  totals: QueueTotals;
  /** No finished task of the queue has to be pruned before this; null when there is none. */
  retainAt: number | null;
}

const TOTALS = [
  'enqueued',
  'leased',
  'acked',
  'nacked',
  'released',
  'expired',
  'dead',
] as const satisfies readonly (keyof QueueTotals)[];
const COLUMNS = `no, name, paused, created_at, settings, retain_at,
  ${TASK_STATES.join(', ')}, ${TOTALS.map((total) => `total_${total}`).join(', ')}`;

type Columns = [
  no: number,
  name: string,
  paused: number,
  createdAt: number,
  settings: string,
  retainAt: number | null,
  ...numbers: number[],
];

/** More queues than this are not kept in memory from one transaction to the next. */
const MAX_CACHED = 20_000;

/**
 * The queues, read once and kept: this process is the only one that writes the file. Counts and totals change
 * in memory and are written once per transaction.
 */
export class QueueTable {
  readonly #byNameQuery: Query<Columns>;
  readonly #byNoQuery: Query<Columns>;
  readonly #pageQuery: Query<Columns>;
  readonly #retentionQuery: Query<[no: number]>;
  readonly #nextRetentionQuery: Query<[retainAt: number]>;
  readonly #insert: Command;
  readonly #update: Command;
  readonly #delete: Command;
  readonly #byName = new Map<string, Queue>();
  readonly #byNo = new Map<number, Queue>();
  readonly #touched = new Set<Queue>();

  constructor(db: DatabaseSync) {
    this.#byNameQuery = query(db, `SELECT ${COLUMNS} FROM queues WHERE name = ?`);
    this.#byNoQuery = query(db, `SELECT ${COLUMNS} FROM queues WHERE no = ?`);
    this.#pageQuery = query(db, `SELECT ${COLUMNS} FROM queues WHERE name > ? ORDER BY name LIMIT ? + 0`);
    this.#retentionQuery = query(
      db,
      'SELECT no FROM queues INDEXED BY queues_retention WHERE retain_at <= ? ORDER BY retain_at LIMIT ? + 0',
    );
    this.#nextRetentionQuery = query(
      db,
      'SELECT retain_at FROM queues INDEXED BY queues_retention WHERE retain_at IS NOT NULL ORDER BY retain_at LIMIT 1',
    );
    this.#insert = command(db, 'INSERT INTO queues (name, paused, created_at, settings) VALUES (?, 0, ?, ?)');
    this.#update = command(
      db,
      `UPDATE queues SET paused = ?, settings = ?, retain_at = ?,
        ${TASK_STATES.map((state) => `${state} = ?`).join(', ')},
        ${TOTALS.map((total) => `total_${total} = ?`).join(', ')} WHERE no = ?`,
    );
    this.#delete = command(db, 'DELETE FROM queues WHERE no = ?');
  }

  byName(name: string): Queue | null {
    return this.#byName.get(name) ?? this.#keep(this.#byNameQuery.get(name));
  }

  /** The queue of a task; every task has one. */
  byNo(no: number): Queue {
    const queue = this.#byNo.get(no) ?? this.#keep(this.#byNoQuery.get(no));
    if (queue === null) throw new Error(`a task belongs to queue ${no}, which is not stored`);
    return queue;
  }

  /** Stored queues after the name `after`, in byte order of their names. */
  page(after: string, limit: number): Queue[] {
    return this.#pageQuery.all(after, limit).map(decode);
  }

  /** Up to `limit` queues in which finished tasks may have to be pruned by now, as of the last flush. */
  retentionDue(now: number, limit: number): Queue[] {
    return this.#retentionQuery.all(now, limit).map(([no]) => this.byNo(no));
  }

  /** When the next queue is to be pruned, as of the last flush. */
  nextRetention(): number | null {
    return this.#nextRetentionQuery.get()?.[0] ?? null;
  }

  create(name: string, now: number, settings: QueueSettings): Queue {
    this.#insert(name, now, JSON.stringify(settings));
    const queue = this.byName(name);
    if (queue === null) throw new Error(`queue ${name} is not there after it was stored`);
    return queue;
  }

  /** Has the queue written at the end of the transaction. */
  touch(queue: Queue): void {
    this.#touched.add(queue);
  }

  configure(queue: Queue, settings: QueueSettings): void {
    queue.settings = settings;
    queue.config = queueConfig(settings);
    this.touch(queue);
  }

  delete(queue: Queue): void {
    this.#delete(queue.no);
    this.#byName.delete(queue.name);
    this.#byNo.delete(queue.no);
    this.#touched.delete(queue);
  }

  flush(): void {
    for (const queue of this.#touched) {
      const { paused, settings, retainAt, counts, totals, no } = queue;
      this.#update(
        paused ? 1 : 0,
        JSON.stringify(settings),
        retainAt,
        ...TASK_STATES.map((state) => counts[state]),
        ...TOTALS.map((total) => totals[total]),
        no,
      );
    }
    this.#touched.clear();
  }

  /** Forgets what was not committed. */
  reload(): void {
    this.#byName.clear();
    this.#byNo.clear();
    this.#touched.clear();
  }

  /** To be called between transactions. */
  trim(): void {
    if (this.#byNo.size > MAX_CACHED) this.reload();
  }

  #keep(columns: Columns | undefined): Queue | null {
    if (columns === undefined) return null;
    const queue = decode(columns);
    this.#byName.set(queue.name, queue);
    this.#byNo.set(queue.no, queue);
    return queue;
  }
}

function decode(columns: Columns): Queue {
  const [no, name, paused, createdAt, settingsText, retainAt, ...numbers] = columns;
  const settings = JSON.parse(settingsText) as QueueSettings;
  const count = (state: TaskState) => numbers[TASK_STATES.indexOf(state)] ?? 0;
  const total = (of: keyof QueueTotals) => numbers[TASK_STATES.length + TOTALS.indexOf(of)] ?? 0;
  return {
    no,
    name,
    createdAt,
    paused: paused !== 0,
    settings,
    config: queueConfig(settings),
    retainAt,
    counts: {
      scheduled: count('scheduled'),
      ready: count('ready'),
      blocked: count('blocked'),
      leased: count('leased'),
      completed: count('completed'),
      dead: count('dead'),
      cancelled: count('cancelled'),
      expired: count('expired'),
    },
    totals: {
      enqueued: total('enqueued'),
      leased: total('leased'),
      acked: total('acked'),
      nacked: total('nacked'),
      released: total('released'),
      expired: total('expired'),
      dead: total('dead'),
    },
  };
}
