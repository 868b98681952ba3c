import { closeSync, existsSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { platform } from 'node:os';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreRefusal } from '../store.ts';
import { APPLICATION_ID, MIGRATIONS, migrate } from './schema.ts';
import { isSqliteError, PRIMARY } from './sqlite-error.ts';

/** The path that stands for a database in memory. */
export const IN_MEMORY = ':memory:';

/** What the page cache may take: the one part of memory that grows with the file. */
const CACHE_KIB = 32 * 1024;
/** A write-ahead log that one large group made longer than this is cut back at the next checkpoint. */
const LOG_LIMIT_BYTES = 64 * 1024 * 1024;

/**
 * Opens or makes the database file, takes it for this process alone, and brings it to the newest version.
 * @throws StoreRefusal with one line when the file is in use, not ours, newer, or cannot be opened
 */
export function openDatabase(path: string, durability: 'full' | 'normal'): DatabaseSync {
  let db: DatabaseSync | null = null;
  try {
    if (path !== IN_MEMORY) makeDirectory(dirname(resolve(path)));
    db = new DatabaseSync(path);
    // The lock is kept from the first access on; it also spares the shared memory file of the log.
    db.exec('PRAGMA locking_mode = EXCLUSIVE');
    refuseForeignFile(db, path);
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = ${durability === 'full' ? 'FULL' : 'NORMAL'};
      PRAGMA fullfsync = ${durability === 'full' ? 'ON' : 'OFF'};
      PRAGMA cache_size = -${CACHE_KIB};
      PRAGMA journal_size_limit = ${LOG_LIMIT_BYTES};
      PRAGMA temp_store = MEMORY;
      BEGIN IMMEDIATE;
    `);
    // Read again: only now is the file this process's alone.
    migrate(db, refuseForeignFile(db, path));
    db.exec('COMMIT');
    return db;
  } catch (error) {
    if (db?.isOpen) db.close();
    throw toRefusal(path, error);
  }
}

/**
 * The version of the file, 0 for an empty one.
 * @throws StoreRefusal when it is not ours, or newer
 */
export function refuseForeignFile(db: DatabaseSync, path: string): number {
  const version = pragma(db, 'user_version');
  const owner = pragma(db, 'application_id');
  const empty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
  if (owner !== APPLICATION_ID && !(empty && owner === 0 && version === 0)) {
    throw new StoreRefusal(`${path} is a SQLite database of another program; name another file.`);
  }
  if (version > MIGRATIONS.length) {
    throw new StoreRefusal(
      `${path} was written by a newer version of Lessor (its format is ${version}, this one knows ${MIGRATIONS.length}); start that version, or name another file.`,
    );
  }
  return version;
}

/** The number that a pragma answers. */
export function pragma(db: DatabaseSync, name: string): number {
  return Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
}

/** Why the file at `path` must not be used, in one line. */
export function toRefusal(path: string, error: unknown): StoreRefusal {
  return error instanceof StoreRefusal ? error : new StoreRefusal(refusalLine(path, error), { cause: error });
}

function refusalLine(path: string, error: unknown): string {
  if (isSqliteError(error)) {
    switch (error.errcode & PRIMARY.mask) {
      case PRIMARY.corrupt:
        return `${path} is damaged (${error.message}); put a backup in its place, or name another file.`;
      case PRIMARY.busy:
      case PRIMARY.locked:
        return `${path} is in use by another Lessor process; stop it, or name another file.`;
      case PRIMARY.notADatabase:
        return `${path} is no Lessor database: it is not a SQLite file. Name another file.`;
      case PRIMARY.readOnly:
        return `${path} cannot be written; check the permissions of the file and of its directory.`;
      case PRIMARY.cannotOpen:
        return `${path} cannot be opened; check that it is a file, and the permissions of its directory.`;
      case PRIMARY.full:
        return `${path} cannot be made ready: the disk is full.`;
    }
  }
  return `${path} cannot be opened: ${error instanceof Error ? error.message : String(error)}`;
}

/** Makes the directory and its parents, and has their entries on disk before a task is stored below them. */
function makeDirectory(directory: string): void {
  if (existsSync(directory)) return;
  const first = mkdirSync(directory, { recursive: true });
  if (first === undefined || platform() === 'win32') return;
  for (let made = directory; ; made = dirname(made)) {
    syncDirectory(dirname(made));
    if (made === first) return;
  }
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
