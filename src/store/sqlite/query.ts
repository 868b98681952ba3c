import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite';

/** A prepared query whose rows are arrays of columns, which cost half of what objects do. */
export interface Query<Row> {
  get(...values: SQLInputValue[]): Row | undefined;
  all(...values: SQLInputValue[]): Row[];
}

/** A prepared statement that answers how many rows it changed. */
export type Command = (...values: SQLInputValue[]) => number;

/**
 * A limit that is bound has to be written `LIMIT ? + 0`: with a bare `LIMIT ?`, SQLite plans by the value and prepares
 * the statement anew each time one is bound, which costs ten times what the query does.
 * @typeParam Row the columns, in the order of `sql`: the caller vouches for their types
 */
export function query<Row extends readonly SQLOutputValue[]>(db: DatabaseSync, sql: string): Query<Row> {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return {
    get: (...values) => statement.get(...values) as Row | undefined,
    all: (...values) => {
      const rows: object[] = statement.all(...values);
      return rows as Row[];
    },
  };
}

export function command(db: DatabaseSync, sql: string): Command {
  const statement = db.prepare(sql);
  return (...values) => Number(statement.run(...values).changes);
}
