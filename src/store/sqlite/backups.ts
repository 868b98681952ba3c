import { randomUUID } from 'node:crypto';
import { promises, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backup, type BackupProgressInfo, type DatabaseSync } from 'node:sqlite';
import { type Backup, StoreError } from '../store.ts';
import { IN_MEMORY } from './connection.ts';

/** Pages that one step copies: other statements wait for a step at most. */
const PAGES = 64;
/**
 * Pages after which the copy is synced, beside everything else: the last step of SQLite syncs all that is not yet on the disk, and
 * other statements wait for that.
 */
const PAGES_PER_SYNC = 1024;
const CHUNK_BYTES = 256 * 1024;

/**
 * Copies of the database, one at a time, made in steps beside everything else. What is committed meanwhile is in the copy too, so that
 * it is the database as of the moment when it is done. The copy is a file beside the database, on the same disk and as well
 * protected, which is unlinked before it is read: nothing is left of it, however the reading ends.
 */
export class Backups {
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #closing = new AbortController();
  /** Whether there is a copy, or one is being made. */
  #busy = false;
  #making: Promise<unknown> = Promise.resolve();

  constructor(db: DatabaseSync, path: string) {
    this.#db = db;
    this.#file = path === IN_MEMORY ? join(tmpdir(), `lessor-${randomUUID()}`) : `${path}-backup-in-progress`;
    // What a process that was killed has left: the database is locked for this one, so no other makes a copy.
    for (const left of [this.#file, `${this.#file}-journal`]) rmSync(left, { force: true });
  }

  /**
   * @param signal gives up a copy that is being made
   * @throws StoreError when it is given up, or cannot be made, for which the reason is its cause
   */
  async make(signal: AbortSignal): Promise<Backup | 'busy'> {
    if (this.#busy) return 'busy';
    this.#busy = true;
    const making = this.#copy(AbortSignal.any([signal, this.#closing.signal]));
    this.#making = making.catch(() => {});
    try {
      const file = await making;
      const { size } = await file.stat();
      return { bytes: size, chunks: read(file, size), discard: once(() => this.#discard(file)) };
    } catch (error) {
      this.#busy = false;
      await this.#remove();
      if (error instanceof StoreError) throw error;
      throw new StoreError('unavailable', 'the file could not be copied: look at the room on the disk', {
        cause: error,
      });
    }
  }

  async #discard(file: promises.FileHandle): Promise<void> {
    this.#busy = false;
    await file.close();
  }

  /** Whatever is left of a copy that failed. */
  async #remove(): Promise<void> {
    for (const left of [this.#file, `${this.#file}-journal`]) await promises.rm(left, { force: true });
  }

  async #copy(givenUp: AbortSignal): Promise<promises.FileHandle> {
    await this.#remove();
    // Made here, so that nobody else may read it; SQLite takes an empty file as it is.
    const file = await promises.open(this.#file, 'wx+', 0o600);
    try {
      refuse(givenUp);
      const syncs = new Syncs(file);
      const progress = (pages: BackupProgressInfo): void => {
        // What is thrown here ends the copying.
        refuse(givenUp);
        syncs.note(pages);
      };
      try {
        await backup(this.#db, this.#file, { rate: PAGES, progress });
      } finally {
        await syncs.end();
      }
      await promises.rm(this.#file);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Gives up a copy that is being made; whoever reads one may go on. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#making;
  }
}

function refuse(givenUp: AbortSignal): void {
  if (givenUp.aborted) throw new StoreError('closed', 'the store is closed, or the broker stops');
}

/** Has a file that grows be on the disk, one sync at a time. */
class Syncs {
  readonly #file: promises.FileHandle;
  #syncing: Promise<void> | null = null;
  #synced = 0;

  constructor(file: promises.FileHandle) {
    this.#file = file;
  }

  note({ totalPages, remainingPages }: BackupProgressInfo): void {
    const copied = totalPages - remainingPages;
    if (this.#syncing !== null || copied - this.#synced < PAGES_PER_SYNC) return;
    this.#synced = copied;
    this.#syncing = this.#sync();
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.datasync();
    } catch {
      // SQLite syncs once more, and says when that fails.
    } finally {
      this.#syncing = null;
    }
  }

  async end(): Promise<void> {
    await this.#syncing;
  }
}

async function* read(file: promises.FileHandle, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const { bytesRead, buffer } = await file.read(new Uint8Array(CHUNK_BYTES), 0, CHUNK_BYTES, at);
    if (bytesRead === 0) throw new Error('the copy has become shorter');
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function once(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  return () => (running ??= run());
}
