import { InvalidCursor, type ListOrder } from '../store.ts';
import { shardOfTaskId } from '../task-ids.ts';

/** What the place of a task in a list goes by: its sequence number, or when it finished and its id. */
export type ListedBy = 'created' | 'finished';

function kindOf(by: ListedBy, order: ListOrder): string {
  return order === 'oldest' ? by : `${by}-${order}`;
}

/** The cursor for a position, null when there is no next page. */
export function encodeCursor(by: ListedBy, order: ListOrder, position: readonly unknown[]): string | null {
  if (position.length === 0) return null;
  return Buffer.from(JSON.stringify([kindOf(by, order), ...position.map(String)])).toString('base64url');
}

/**
 * The position: [sequence number] or [finished at, id]; empty for the first page.
 * @throws InvalidCursor when no page of such a list has answered it
 */
export function decodeCursor(by: ListedBy, order: ListOrder, cursor: string | null): string[] {
  if (cursor === null) return [];
  let decoded: unknown;
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw new InvalidCursor();
  }
  const [made, at, id, ...rest] = Array.isArray(decoded) ? (decoded as unknown[]) : [];
  if (made !== kindOf(by, order) || typeof at !== 'string' || !/^\d{1,15}$/.test(at) || rest.length > 0) {
    throw new InvalidCursor();
  }
  if (by === 'created' && id === undefined) return [at];
  if (by === 'finished' && typeof id === 'string' && shardOfTaskId(id) !== null) return [at, id];
  throw new InvalidCursor();
}
