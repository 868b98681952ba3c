import { resolve } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { QueueSettings } from '../../domain/queue.ts';
import type { TaskRecord, TaskState } from '../../domain/task.ts';
import {
  type Backup,
  type CancelItem,
  type CancelOutcome,
  type ConfigureOutcome,
  type CreateOperationOutcome,
  type DeadCount,
  type DeadQuery,
  type DisownCall,
  type EnqueueCall,
  type EnqueueOutcome,
  type EnqueueRefusal,
  type LeaseCall,
  type RecallCall,
  type ListQuery,
  type NewOperation,
  type OperationRecord,
  type OperationStep,
  type OperationStepped,
  type QueuePage,
  type QueueRecord,
  type RedriveOutcome,
  type RemoveOutcome,
  type SettleItem,
  type SettleOutcome,
  type Stamped,
  type Store,
  type StoreDescription,
  StoreError,
  type StoreMemory,
  type SweepReport,
  type TaskPage,
} from '../store.ts';
import { TaskIdMint } from '../task-ids.ts';
import { Backups } from './backups.ts';
import { monotonicClock } from './clock.ts';
import { IN_MEMORY, openDatabase, pragma, toRefusal } from './connection.ts';
import { Data } from './data.ts';
import { Ends } from './ends.ts';
import { tryEnqueue, enqueue } from './enqueue.ts';
import { GroupCommit } from './group-commit.ts';
import { disown, lease, recall } from './lease.ts';
import { list } from './listing.ts';
import { cancel, redrive, remove } from './moves.ts';
import {
  cancelOperations,
  countDead,
  createOperations,
  forgetOperations,
  operations,
  runningOperations,
  stepOperations,
} from './operations.ts';
import { configure, dropQueue, purge, queuePage, setPaused, viewOf } from './queues.ts';
import { settle } from './settle.ts';
import { toStoreError } from './sqlite-error.ts';
import { sweep } from './sweep.ts';
import { toRecord } from './task-row.ts';

export interface SqliteStoreOptions {
  /** A file, made with its directory when it does not exist, or `:memory:`. */
  path: string;
  /** `full`: an answer means that the disk has confirmed. `normal`: a power cut may cost the last moments. */
  durability: 'full' | 'normal';
  /** Ms since the epoch, the host's by default. */
  clock?: () => number;
}

/** What `PRAGMA synchronous` reads (https://www.sqlite.org/pragma.html#pragma_synchronous). */
const SYNCHRONOUS = { off: 0, normal: 1 } as const;

/** Every embedded task lives in the one shard that there is. */
const SHARD = 0;

interface Opened {
  db: DatabaseSync;
  data: Data;
  group: GroupCommit;
  backups: Backups;
}

/**
 * The embedded store: one SQLite file that this process holds alone.
 *
 * Mutations of the same turn of the event loop are one transaction ({@link GroupCommit}); each is answered when
 * that is committed. Reads run at once and see what is committed: transactions begin and end within one turn, so
 * none is ever open when a read runs, and whoever has had an answer finds what it said.
 */
export class SqliteStore implements Store {
  readonly shared = false;
  readonly wakes = new Ends();
  readonly #path: string;
  readonly #durability: 'full' | 'normal';
  readonly #now: () => number;
  readonly #ids = new TaskIdMint();
  #opened: Opened | null = null;

  constructor({ path, durability, clock = Date.now }: SqliteStoreOptions) {
    this.#path = path;
    this.#durability = durability;
    this.#now = monotonicClock(clock);
  }

  async open(): Promise<void> {
    const db = openDatabase(this.#path, this.#durability);
    try {
      const data = new Data(db, this.#now, this.wakes);
      this.#opened = { db, data, group: new GroupCommit(data), backups: new Backups(db, this.#path) };
    } catch (error) {
      db.close();
      throw toRefusal(this.#path, error);
    }
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = null;
    if (opened === null) return;
    opened.group.close();
    await opened.backups.close();
    opened.db.close();
  }

  describe(): Promise<StoreDescription> {
    return this.#read((_data, db) => {
      const version = Object.values(db.prepare('SELECT sqlite_version()').get() ?? {})[0];
      const durability = this.#path === IN_MEMORY ? 'none' : durabilityOf(pragma(db, 'synchronous'));
      return {
        product: `SQLite ${String(version)}`,
        location: this.#path === IN_MEMORY ? this.#path : resolve(this.#path),
        durability,
        note: NOTES[durability],
        unmet: null,
      };
    });
  }

  /** Its data are on the disk. */
  async memory(): Promise<StoreMemory> {
    return { used: null, evicts: false };
  }

  async backup(signal: AbortSignal): Promise<Backup | 'busy'> {
    if (this.#opened === null) throw new StoreError('closed', 'the store is closed');
    return this.#opened.backups.make(signal);
  }

  check(): Promise<void> {
    return this.#write((data) => data.counters.check());
  }

  newTaskId(_queue: string): string {
    return this.#ids.mint(SHARD, this.#now());
  }

  enqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueOutcome>> {
    return this.#write((data) => enqueue(data, calls));
  }

  tryEnqueue(calls: readonly EnqueueCall[]): Promise<Stamped<EnqueueRefusal | null>> {
    return this.#read((data) => tryEnqueue(data, calls));
  }

  lease(calls: readonly LeaseCall[]) {
    return this.#write((data) => lease(data, calls));
  }

  recall(calls: readonly RecallCall[]) {
    return this.#read((data) => recall(data, calls));
  }

  disown(calls: readonly DisownCall[]): Promise<Stamped<boolean>> {
    return this.#write((data) => disown(data, calls));
  }

  settle(items: readonly SettleItem[]): Promise<Stamped<SettleOutcome>> {
    return this.#write((data) => settle(data, items));
  }

  cancel(items: readonly CancelItem[]): Promise<Stamped<CancelOutcome>> {
    return this.#write((data) => cancel(data, items));
  }

  redrive(ids: readonly string[]): Promise<Stamped<RedriveOutcome>> {
    return this.#write((data) => redrive(data, ids));
  }

  remove(ids: readonly string[]): Promise<Stamped<RemoveOutcome>> {
    return this.#write((data) => remove(data, ids));
  }

  get(ids: readonly string[]): Promise<Stamped<TaskRecord | null>> {
    return this.#read((data) => {
      const results = ids.map((id) => {
        const found = data.tasks.fullById(id);
        return found && toRecord(found.task, found.details, data.queues.byNo(found.task.queueNo));
      });
      return { now: data.now(), dueAt: null, results };
    });
  }

  list(query: ListQuery): Promise<TaskPage> {
    return this.#read((data) => list(data, query));
  }

  queues({ after, limit }: { after: string | null; limit: number }): Promise<QueuePage> {
    return this.#read((data) => queuePage(data, after, limit));
  }

  queue(name: string): Promise<{ now: number; queue: QueueRecord | null }> {
    return this.#read((data) => {
      const queue = data.queues.byName(name);
      return { now: data.now(), queue: queue && viewOf(data, queue) };
    });
  }

  configure(name: string, settings: QueueSettings, mode: 'replace' | 'merge'): Promise<ConfigureOutcome> {
    return this.#write((data) => configure(data, name, settings, mode));
  }

  setPaused(name: string, paused: boolean): Promise<boolean> {
    return this.#write((data) => setPaused(data, name, paused));
  }

  purge(name: string, state: TaskState, limit: number): Promise<{ purged: number }> {
    return this.#write((data) => purge(data, name, state, limit));
  }

  dropQueue(name: string): Promise<'deleted' | 'more' | 'not_empty' | 'not_found'> {
    return this.#write((data) => dropQueue(data, name));
  }

  countDead(query: DeadQuery): Promise<DeadCount> {
    return this.#read((data) => countDead(data, query));
  }

  createOperations(asked: readonly NewOperation[]): Promise<Stamped<CreateOperationOutcome>> {
    return this.#write((data) => createOperations(data, asked));
  }

  operations(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#read((data) => operations(data, ids));
  }

  stepOperations(steps: readonly OperationStep[]): Promise<Stamped<OperationStepped | null>> {
    return this.#write((data) => stepOperations(data, steps));
  }

  cancelOperations(ids: readonly string[]): Promise<Stamped<OperationRecord | null>> {
    return this.#write((data) => cancelOperations(data, ids));
  }

  forgetOperations(ids: readonly string[]): Promise<Stamped<boolean>> {
    return this.#write((data) => forgetOperations(data, ids));
  }

  runningOperations(): Promise<readonly OperationRecord[]> {
    return this.#read(runningOperations);
  }

  sweep(): Promise<SweepReport> {
    return this.#write(sweep);
  }

  #write<Result>(operation: (data: Data) => Result): Promise<Result> {
    if (this.#opened === null) return Promise.reject(new StoreError('closed', 'the store is closed'));
    const { data, group } = this.#opened;
    return group.run(() => operation(data));
  }

  async #read<Result>(operation: (data: Data, db: DatabaseSync) => Result): Promise<Result> {
    if (this.#opened === null) throw new StoreError('closed', 'the store is closed');
    try {
      return operation(this.#opened.data, this.#opened.db);
    } catch (error) {
      throw toStoreError(error);
    }
  }
}

function durabilityOf(synchronous: number): 'none' | 'normal' | 'full' {
  if (synchronous === SYNCHRONOUS.off) return 'none';
  return synchronous === SYNCHRONOUS.normal ? 'normal' : 'full';
}

const NOTES: Record<'none' | 'normal' | 'full', string> = {
  none: 'Tasks are kept in memory alone and end with the process; name a file to keep them.',
  normal: 'Survives a crash of the process. A power cut may cost the last moments; durability "full" prevents that.',
  full: 'Survives a crash of the process and a power cut, if the disk is honest. Losing the disk loses the tasks: back it up.',
};
