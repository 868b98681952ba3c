import { StoreError } from '../store.ts';

/** Result codes of SQLite; an extended code carries its primary one in the lowest byte (https://www.sqlite.org/rescode.html). */
export const PRIMARY = {
  mask: 0xff,
  busy: 5,
  locked: 6,
  noMemory: 7,
  readOnly: 8,
  interrupted: 9,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  protocol: 15,
  notADatabase: 26,
} as const;

const UNAVAILABLE: ReadonlySet<number> = new Set([
  PRIMARY.busy,
  PRIMARY.locked,
  PRIMARY.noMemory,
  PRIMARY.readOnly,
  PRIMARY.interrupted,
  PRIMARY.io,
  PRIMARY.corrupt,
  PRIMARY.cannotOpen,
  PRIMARY.protocol,
  PRIMARY.notADatabase,
]);

/** What node:sqlite throws for a failure of SQLite itself. */
export interface SqliteError extends Error {
  code: 'ERR_SQLITE_ERROR';
  errcode: number;
}

export function isSqliteError(error: unknown): error is SqliteError {
  return (
    error instanceof Error &&
    'code' in error &&
    error.code === 'ERR_SQLITE_ERROR' &&
    'errcode' in error &&
    typeof error.errcode === 'number'
  );
}

/**
 * What the port promises for an error: `full` when the disk (or the database) has no room, `unavailable` when
 * the file failed. Anything else is a fault of the program and stays as it is.
 */
export function toStoreError(error: unknown): Error {
  if (!isSqliteError(error)) return error instanceof Error ? error : new Error(String(error));
  const primary = error.errcode & PRIMARY.mask;
  if (primary === PRIMARY.full) return new StoreError('full', `SQLite: ${error.message}`, { cause: error });
  if (!UNAVAILABLE.has(primary)) return error;
  return new StoreError('unavailable', `SQLite: ${error.message} (code ${error.errcode})`, { cause: error });
}
