import type { DatabaseSync } from 'node:sqlite';
import { type Command, command, type Query, query } from './query.ts';

/**
 * The two counters of the file, kept in memory and written once per transaction. They serve all queues: only
 * the order within a queue is ever seen.
 */
export class Counters {
  readonly #read: Query<[places: number, grants: number]>;
  readonly #write: Command;
  readonly #check: Command;
  #places = 0;
  #grants = 0;
  #changed = false;

  constructor(db: DatabaseSync) {
    this.#read = query(db, 'SELECT places, grants FROM counters');
    this.#write = command(db, 'UPDATE counters SET places = ?, grants = ?');
    this.#check = command(db, 'UPDATE counters SET checks = checks + 1');
    this.reload();
  }

  /** The next number of a new task, or of a place at the back of a line. */
  nextPlace(): number {
    this.#changed = true;
    this.#places += 1;
    return this.#places;
  }

  /** The number of the next grant. */
  nextGrant(): number {
    this.#changed = true;
    this.#grants += 1;
    return this.#grants;
  }

  /** Changes a row to no effect, for the sake of writing. */
  check(): void {
    this.#check();
  }

  flush(): void {
    if (!this.#changed) return;
    this.#write(this.#places, this.#grants);
    this.#changed = false;
  }

  /** Forgets what was not committed. */
  reload(): void {
    [this.#places, this.#grants] = this.#read.get() ?? [0, 0];
    this.#changed = false;
  }
}
