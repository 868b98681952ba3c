import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { groupHasRoom } from '../../domain/groups.ts';
import { TASK_STATES, TERMINAL_STATES } from '../../domain/task.ts';
import type { Census, CensusOptions, CensusTotals, Finding } from '../census.ts';
import { StoreRefusal } from '../store.ts';
import { CHECKS } from './census-checks.ts';
import { IN_MEMORY, refuseForeignFile, toRefusal } from './connection.ts';
import { GroupTable } from './group-table.ts';
import { query } from './query.ts';
import { type Queue, QueueTable } from './queue-table.ts';
import { MIGRATIONS } from './schema.ts';
import { isSqliteError, PRIMARY } from './sqlite-error.ts';

/** Faults of the file itself that are told. */
const MAX_DAMAGES = 100;
/** An operation without its queue is ended by the broker within moments. */
const MOMENTS_MS = 60_000;
const BY_NAME = 500;
/** Faults of one kind that are told; all of them are mended. */
const MAX_TOLD = 10_000;

/**
 * A census of the file while no broker has it: all that it finds and mends is one transaction. A file that a broker works on is looked
 * at by a copy that the broker makes.
 */
export class SqliteCensus implements Census {
  readonly location: string;
  readonly #path: string;
  #db: DatabaseSync | null = null;

  constructor(path: string) {
    this.#path = path;
    this.location = resolve(path);
  }

  /** @throws StoreRefusal with one line when there is no such file, it is in use, of another version or none of ours */
  open(): void {
    if (this.#path === IN_MEMORY) {
      throw new StoreRefusal(
        'what is kept in memory can be looked at by its broker alone: name a file with LESSOR_STORE',
      );
    }
    if (!existsSync(this.#path)) {
      throw new StoreRefusal(`${this.#path} is not there: look at LESSOR_STORE, and at the working directory`);
    }
    let db: DatabaseSync | null = null;
    try {
      db = new DatabaseSync(this.#path);
      db.exec('PRAGMA locking_mode = EXCLUSIVE');
      const version = refuseForeignFile(db, this.#path);
      if (version < MIGRATIONS.length) {
        throw new StoreRefusal(
          `${this.#path} was written by an older version of Lessor: start this version on it once, which brings it up to date, and look again`,
        );
      }
      this.#db = db;
    } catch (error) {
      if (db?.isOpen) db.close();
      if (isSqliteError(error) && (error.errcode & PRIMARY.mask) === PRIMARY.busy) {
        throw new StoreRefusal(
          `${this.#path} is in use by a broker: stop it, or have it make a copy and look at that (lessor backup --to copy.db, lessor doctor --store sqlite:copy.db)`,
          { cause: error },
        );
      }
      throw toRefusal(this.#path, error);
    }
  }

  async close(): Promise<void> {
    this.#db?.close();
    this.#db = null;
  }

  async take({ mend, found }: CensusOptions): Promise<CensusTotals> {
    const db = this.#db;
    if (db === null) throw new Error('the census is not open');
    const look = new Look(db, mend, found);
    const unsound = look.damages();
    if (unsound !== null) return { queues: 0, tasks: 0, unchecked: [unsound] };
    db.exec(mend ? 'BEGIN IMMEDIATE' : 'BEGIN');
    try {
      const totals = look.all();
      db.exec('COMMIT');
      return totals;
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
}

/** One look at a file. */
class Look {
  readonly #db: DatabaseSync;
  readonly #mend: boolean;
  readonly #found: (finding: Finding) => void;
  readonly #unchecked: string[] = [];

  constructor(db: DatabaseSync, mend: boolean, found: (finding: Finding) => void) {
    this.#db = db;
    this.#mend = mend;
    this.#found = found;
  }

  /** At all that is stored; in a transaction. */
  all(): CensusTotals {
    for (const { fault, faults, mend } of CHECKS) {
      const rows = query<[queue: string | null, subject: string, detail: string]>(
        this.#db,
        `SELECT * FROM (${faults}) LIMIT ${MAX_TOLD}`,
      ).all();
      if (rows.length === MAX_TOLD) this.#unchecked.push(`more than ${MAX_TOLD} of one kind (${fault}) are not told`);
      const mended = this.#mend && mend.length > 0;
      for (const [queue, subject, detail] of rows) this.#found({ fault, queue, subject, detail, mended });
      if (mended && rows.length > 0) for (const statement of mend) this.#db.exec(statement);
    }
    this.#operations();
    let queues = 0;
    let tasks = 0;
    const table = new QueueTable(this.#db);
    for (let page = table.page('', BY_NAME); page.length > 0; page = table.page(page.at(-1)?.name ?? '', BY_NAME)) {
      for (const queue of page) {
        queues += 1;
        this.#groups(queue);
        tasks += this.#counts(table, queue);
        this.#retention(table, queue);
      }
      table.flush();
      if (page.length < BY_NAME) break;
    }
    return { queues, tasks, unchecked: this.#unchecked };
  }

  #tell(fault: Finding['fault'], queue: string | null, subject: string, detail: string): void {
    this.#found({ fault, queue, subject, detail, mended: this.#mend });
  }

  /** Why nothing else can be relied on; null when the file itself is sound by now. */
  damages(): string | null {
    const lines = integrity(this.#db);
    const ofIndexes = lines.every((line) => /missing from index|wrong # of entries in index/.test(line));
    for (const detail of lines) {
      if (ofIndexes) this.#tell('index', null, 'the file', detail);
      else this.#found({ fault: 'damaged', queue: null, subject: 'the file', detail, mended: false });
    }
    if (!ofIndexes) return 'all else, because the file is damaged: put a backup in its place';
    if (lines.length > 0 && !this.#mend) return 'all else, until the indexes are built anew (--mend)';
    if (lines.length > 0) this.#db.exec('REINDEX');
    return null;
  }

  #operations(): void {
    const lost = `finished_at IS NULL AND queue NOT IN (SELECT name FROM queues) AND created_at < ${Date.now() - MOMENTS_MS}`;
    for (const [id, queue] of query<[string, string]>(
      this.#db,
      `SELECT id, queue FROM operations WHERE ${lost}`,
    ).all()) {
      this.#tell('operation', queue, id, 'runs, and the queue is gone');
    }
    if (this.#mend) this.#db.exec(`UPDATE operations SET state = 'cancelled', finished_at = created_at WHERE ${lost}`);
  }

  /** Groups of which nothing is ready although one of their tasks may run. */
  #groups(queue: Queue): void {
    const planned = query<[number]>(this.#db, 'SELECT 1 FROM regroupings WHERE queue_no = ?').get(queue.no);
    if (queue.counts.blocked === 0 || planned !== undefined) return;
    const groups = new GroupTable(this.#db);
    const { groups: config } = queue.config;
    const keys = query<[key: string]>(
      this.#db,
      `SELECT DISTINCT group_key FROM tasks WHERE queue_no = ? AND group_phase = 'blocked'`,
    ).all(queue.no);
    for (const [key] of keys) {
      const head = groups.first(queue, key, 'blocked');
      if (head === null || groups.first(queue, key, 'ready') !== null) continue;
      const waiting = config.ordering === 'strict' ? groups.waitingInPlace(queue, key, config.maxConcurrency) : 0;
      if (!groupHasRoom(config, groups.leased(queue, key, config.maxConcurrency), waiting)) continue;
      this.#tell('stalled', queue.name, key, 'its first task is blocked by nothing');
      if (!this.#mend) continue;
      this.#db.exec('UPDATE counters SET places = places + 1');
      groups.move(head.seq, 'ready', query<[places: number]>(this.#db, 'SELECT places FROM counters').get()?.[0] ?? 0);
    }
  }

  /** Answers how many tasks the queue has. */
  #counts(table: QueueTable, queue: Queue): number {
    const rows = query<[state: string, count: number]>(
      this.#db,
      'SELECT state, count(*) FROM tasks INDEXED BY tasks_state WHERE queue_no = ? GROUP BY state',
    ).all(queue.no);
    const there = new Map(rows);
    for (const state of TASK_STATES) {
      const count = there.get(state) ?? 0;
      if (queue.counts[state] === count) continue;
      this.#tell('counter', queue.name, state, `${queue.counts[state]} is noted, ${count} is there`);
      if (!this.#mend) continue;
      queue.counts[state] = count;
      table.touch(queue);
    }
    return rows.reduce((sum, [, count]) => sum + count, 0);
  }

  /** The queue must be looked at when the first of its tasks is to be pruned by age. */
  #retention(table: QueueTable, queue: Queue): void {
    const { retention } = queue.config;
    const first = (sql: string, ...values: (string | number)[]): number =>
      query<[at: number | null]>(this.#db, sql).get(queue.no, ...values)?.[0] ?? Number.POSITIVE_INFINITY;
    let at = first('SELECT min(kept_until) FROM tasks WHERE queue_no = ?');
    for (const state of TERMINAL_STATES) {
      const oldest = first(
        'SELECT min(finished_at) FROM tasks WHERE queue_no = ? AND state = ? AND finished_at IS NOT NULL AND kept_until IS NULL',
        state,
      );
      at = Math.min(at, oldest + (state === 'dead' ? retention.deadMs : retention.completedMs));
    }
    if (at === Number.POSITIVE_INFINITY || (queue.retainAt !== null && queue.retainAt <= at)) return;
    this.#tell(
      'schedule',
      queue.name,
      'retention',
      `due at ${at}, ${queue.retainAt === null ? 'not planned' : `planned at ${queue.retainAt}`}`,
    );
    if (!this.#mend) return;
    queue.retainAt = at;
    table.touch(queue);
  }
}

/** What is wrong with the file itself, one line each. */
function integrity(db: DatabaseSync): string[] {
  try {
    return query<[line: string]>(db, `PRAGMA integrity_check(${MAX_DAMAGES})`)
      .all()
      .flatMap(([text]) => text.split('\n'))
      .filter((line) => line !== 'ok' && line !== '');
  } catch (error) {
    if (isSqliteError(error) && (error.errcode & PRIMARY.mask) === PRIMARY.corrupt) return [error.message];
    throw error;
  }
}
