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
  #values: { places: number; grants: number } | null = null;
  #changed = false;

  constructor(db: DatabaseSync) {
    this.#read = query(db, 'SELECT places, grants FROM counters');
    this.#write = command(db, 'UPDATE counters SET places = ?, grants = ?');
    this.#check = command(db, 'UPDATE counters SET checks = checks + 1');
  }

  /** The next number of a new task, or of a place at the back of a line. */
  nextPlace(): number {
    this.#changed = true;
    return ++this.#loaded().places;
  }

  /** The number of the next grant. */
  nextGrant(): number {
    this.#changed = true;
    return ++this.#loaded().grants;
  }

  /** Changes a row to no effect, for the sake of writing. */
  check(): void {
    this.#check();
  }

  flush(): void {
    if (!this.#changed) return;
    const { places, grants } = this.#loaded();
    this.#write(places, grants);
    this.#changed = false;
  }

  /** Forgets what was not committed. */
  reload(): void {
    this.#values = null;
    this.#changed = false;
  }

  #loaded(): { places: number; grants: number } {
    if (this.#values === null) {
      const columns = this.#read.get();
      if (columns === undefined) throw new Error('the counters are not stored');
      this.#values = { places: columns[0], grants: columns[1] };
    }
    return this.#values;
  }
}
