import { InvalidCursor } from '../store.ts';

/** The last task of a page: everything after it comes on the next. */
export interface Position {
  /** When it finished; 0 in lists that are in order of creation. */
  finishedAt: number;
  seq: number;
}

const START: Position = { finishedAt: -1, seq: 0 };

/** `finished` lists are ordered by when tasks finished, `created` ones by when they were made. */
export type Order = 'finished' | 'created';

export function writeCursor(order: Order, { finishedAt, seq }: Position): string {
  return Buffer.from(`${order} ${finishedAt} ${seq}`).toString('base64url');
}

/**
 * The position that a cursor stands for; before the first task for null.
 * @throws InvalidCursor when it was not made by {@link writeCursor} for such a list
 */
export function readCursor(order: Order, cursor: string | null): Position {
  if (cursor === null) return START;
  const [, made, finishedAt, seq] =
    /^(\w+) (\d{1,15}) (\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  const position = { finishedAt: Number(finishedAt), seq: Number(seq) };
  if (made !== order || writeCursor(order, position) !== cursor) throw new InvalidCursor();
  return position;
}
