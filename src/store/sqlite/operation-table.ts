import type { DatabaseSync } from 'node:sqlite';
import { OPERATION_KEPT_MS, OPERATIONS_KEPT, OPERATIONS_RUNNING, type OperationState } from '../../domain/operation.ts';
import type { OperationRecord } from '../store.ts';
import type { Position } from './cursor.ts';
import { type Command, command, type Query, query } from './query.ts';

/** An operation as it is stored. */
export interface Operation extends OperationRecord {
  type: string | null;
  errorCode: string | null;
  /** Later deaths are none of its business. */
  diedUntil: number;
  max: number | null;
  nextAt: number;
  /** The last task that it has looked at. */
  position: Position;
}

type Columns = [
  id: string,
  queue: string,
  type: string | null,
  errorCode: string | null,
  diedUntil: number,
  max: number | null,
  ratePerSec: number | null,
  state: OperationState,
  createdAt: number,
  finishedAt: number | null,
  nextAt: number,
  positionAt: number,
  positionSeq: number,
  seen: number,
  total: number,
  matched: number,
  moved: number,
  to: string | null,
];

const COLUMNS = `id, queue, type, error_code, died_until, most, rate_per_sec, state, created_at, finished_at, next_at,
  position_at, position_seq, seen, total, matched, moved, into_queue`;
/** Ended ones that one change of an operation clears away at most. */
const CLEARED = 16;

/** Operations that run, and those that ended lately. */
export class OperationTable {
  readonly #byId: Query<Columns>;
  readonly #running: Query<Columns>;
  readonly #insert: Command;
  readonly #save: Command;
  readonly #delete: Command;
  readonly #deleteOld: Command;
  readonly #deleteBeyond: Command;

  constructor(db: DatabaseSync) {
    this.#byId = query(db, `SELECT ${COLUMNS} FROM operations WHERE id = ?`);
    this.#running = query(
      db,
      `SELECT ${COLUMNS} FROM operations INDEXED BY operations_running
        WHERE finished_at IS NULL AND created_at >= 0 ORDER BY created_at LIMIT ? + 0`,
    );
    this.#insert = command(db, `INSERT INTO operations (${COLUMNS}) VALUES (${Array(18).fill('?').join(', ')})`);
    this.#save = command(
      db,
      `UPDATE operations SET state = ?, finished_at = ?, next_at = ?, position_at = ?, position_seq = ?, seen = ?, total = ?,
        matched = ?, moved = ? WHERE id = ?`,
    );
    this.#delete = command(db, 'DELETE FROM operations WHERE id = ?');
    this.#deleteOld = command(
      db,
      `DELETE FROM operations WHERE id IN (SELECT id FROM operations INDEXED BY operations_ended
        WHERE finished_at <= ? ORDER BY finished_at LIMIT ? + 0)`,
    );
    this.#deleteBeyond = command(
      db,
      `DELETE FROM operations WHERE id IN (SELECT id FROM operations INDEXED BY operations_ended
        WHERE finished_at >= 0 ORDER BY finished_at DESC, id DESC LIMIT ? + 0 OFFSET ? + 0)`,
    );
  }

  /** Null also for one that is kept no longer. */
  byId(id: string, now: number): Operation | null {
    const columns = this.#byId.get(id);
    if (columns === undefined) return null;
    const operation = decode(columns);
    const { finishedAt } = operation;
    return finishedAt !== null && finishedAt + OPERATION_KEPT_MS <= now ? null : operation;
  }

  running(): Operation[] {
    return this.#running.all(OPERATIONS_RUNNING).map(decode);
  }

  insert(operation: Operation): void {
    const { id, queue, type, errorCode, diedUntil, max, ratePerSec, state, createdAt, finishedAt } = operation;
    const { nextAt, position, seen, total, matched, moved, to } = operation;
    this.#insert(
      ...[id, queue, type, errorCode, diedUntil, max, ratePerSec, state, createdAt, finishedAt],
      ...[nextAt, position.finishedAt, position.seq, seen, total, matched, moved, to],
    );
  }

  save({ id, state, finishedAt, nextAt, position, seen, total, matched, moved }: Operation): void {
    this.#save(state, finishedAt, nextAt, position.finishedAt, position.seq, seen, total, matched, moved, id);
  }

  /** False when there was none. */
  delete(id: string): boolean {
    return this.#delete(id) > 0;
  }

  /** Deletes some of those that are kept no longer. */
  clear(now: number): void {
    this.#deleteOld(now - OPERATION_KEPT_MS, CLEARED);
    this.#deleteBeyond(CLEARED, OPERATIONS_KEPT);
  }
}

function decode(columns: Columns): Operation {
  const [id, queue, type, errorCode, diedUntil, max, ratePerSec, state, createdAt, finishedAt, nextAt] = columns;
  const [positionAt, positionSeq, seen, total, matched, moved, to] = columns.slice(11) as [
    number,
    number,
    number,
    number,
    number,
    number,
    string | null,
  ];
  return {
    ...{ id, queue, to, type, errorCode, diedUntil, max, ratePerSec, state, createdAt, finishedAt, nextAt },
    ...{ position: { finishedAt: positionAt, seq: positionSeq }, seen, total, matched, moved },
  };
}
