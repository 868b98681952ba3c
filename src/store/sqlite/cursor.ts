import { InvalidCursor, type ListOrder } from '../store.ts';

/** The last task of a page: everything after it comes on the next. */
export interface Position {
  /** When it finished; 0 in lists that are in order of creation. */
  finishedAt: number;
  seq: number;
}

/** `finished` lists are ordered by when tasks finished, `created` ones by when they were made. */
export interface Order {
  by: 'finished' | 'created';
  first: ListOrder;
}

/** Before all tasks, and after them. */
const START: Readonly<Record<ListOrder, Position>> = {
  oldest: { finishedAt: -1, seq: 0 },
  newest: { finishedAt: Number.MAX_SAFE_INTEGER, seq: Number.MAX_SAFE_INTEGER },
};

export function writeCursor({ by, first }: Order, { finishedAt, seq }: Position): string {
  return Buffer.from(`${by}${first === 'oldest' ? '' : `-${first}`} ${finishedAt} ${seq}`).toString('base64url');
}

/**
 * The position that a cursor stands for; before the first task of the list for null.
 * @throws InvalidCursor when it was not made by {@link writeCursor} for such a list
 */
export function readCursor(order: Order, cursor: string | null): Position {
  if (cursor === null) return START[order.first];
  const [, finishedAt, seq] = /^[\w-]+ (\d{1,15}) (\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  const position = { finishedAt: Number(finishedAt), seq: Number(seq) };
  if (writeCursor(order, position) !== cursor) throw new InvalidCursor();
  return position;
}
