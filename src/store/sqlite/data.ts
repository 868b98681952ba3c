import type { DatabaseSync } from 'node:sqlite';
import { Agenda } from './agenda.ts';
import { Counters } from './counters.ts';
import type { Ends } from './ends.ts';
import type { Transaction } from './group-commit.ts';
import { GroupTable } from './group-table.ts';
import { KeyTable } from './key-table.ts';
import { Listing } from './listing.ts';
import { OperationTable } from './operation-table.ts';
import { type Command, command } from './query.ts';
import { type Queue, QueueTable } from './queue-table.ts';
import { QueueView } from './queue-view.ts';
import { RateLog } from './rate-log.ts';
import { TaskTable } from './task-table.ts';
import { UniqueKeys } from './unique-keys.ts';

/** All that operations work on, with every statement prepared once; also the transaction they run in. */
export class Data implements Transaction {
  readonly tasks: TaskTable;
  readonly queues: QueueTable;
  readonly keys: KeyTable;
  readonly uniques: UniqueKeys;
  readonly rates: RateLog;
  readonly groups: GroupTable;
  readonly operations: OperationTable;
  readonly counters: Counters;
  readonly agenda: Agenda;
  readonly listing: Listing;
  readonly view: QueueView;
  readonly ends: Ends;
  readonly now: () => number;
  /**
   * Queues in which a lease gave up among tasks past their ttl, though there may be others behind them: the sweep,
   * which clears the way, reports them as having ready tasks. One too many costs a look at the queue.
   */
  readonly passedOver = new Set<string>();
  /** Queues in which the operation at hand has made tasks ready beside those that it is about. */
  readonly opened = new Set<Queue>();
  readonly #db: DatabaseSync;
  readonly #begin: Command;
  readonly #commit: Command;

  /** @param now the store's clock, in ms */
  constructor(db: DatabaseSync, now: () => number, ends: Ends) {
    this.#db = db;
    this.ends = ends;
    this.now = now;
    this.#begin = command(db, 'BEGIN IMMEDIATE');
    this.#commit = command(db, 'COMMIT');
    this.tasks = new TaskTable(db);
    this.queues = new QueueTable(db);
    this.keys = new KeyTable(db);
    this.uniques = new UniqueKeys(db);
    this.rates = new RateLog(db);
    this.groups = new GroupTable(db);
    this.operations = new OperationTable(db);
    this.counters = new Counters(db);
    this.agenda = new Agenda(db);
    this.listing = new Listing(db);
    this.view = new QueueView(db);
  }

  begin(): void {
    this.queues.trim();
    this.#begin();
  }

  commit(): void {
    this.flush();
    this.#commit();
    this.ends.tell();
  }

  /** Writes what is kept in memory, so that queries see it. */
  flush(): void {
    this.queues.flush();
    this.counters.flush();
  }

  rollback(): void {
    // SQLite has rolled back by itself after some errors (https://www.sqlite.org/lang_transaction.html).
    try {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
    } catch {
      // Then the next `begin` fails within the transaction that is still open, and this is tried again.
    }
    this.queues.reload();
    this.counters.reload();
    this.ends.forget();
    this.opened.clear();
  }
}
