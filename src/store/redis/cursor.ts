import { InvalidCursor } from '../store.ts';
import { shardOfTaskId } from '../task-ids.ts';

/** Where a page ended: behind a sequence number, or behind a task that finished at a time. */
export type CursorKind = 'created' | 'finished';

/** The cursor for a position, null when there is no next page. */
export function encodeCursor(kind: CursorKind, position: readonly unknown[]): string | null {
  if (position.length === 0) return null;
  return Buffer.from(JSON.stringify([kind, ...position.map(String)])).toString('base64url');
}

/**
 * The position: [sequence number] or [finished at, id]; empty for the first page.
 * @throws InvalidCursor when no page of such a list has answered it
 */
export function decodeCursor(kind: CursorKind, cursor: string | null): string[] {
  if (cursor === null) return [];
  let decoded: unknown;
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw new InvalidCursor();
  }
  const [made, at, id, ...rest] = Array.isArray(decoded) ? (decoded as unknown[]) : [];
  if (made !== kind || typeof at !== 'string' || !/^\d{1,15}$/.test(at) || rest.length > 0) throw new InvalidCursor();
  if (kind === 'created' && id === undefined) return [at];
  if (kind === 'finished' && typeof id === 'string' && shardOfTaskId(id) !== null) return [at, id];
  throw new InvalidCursor();
}
