import type { DatabaseSync } from 'node:sqlite';
import { type RateLimit, rateOpensAt } from '../../domain/flow.ts';
import { type Command, command, type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';

/** What a rate limit allows now, and when it allows one more. */
export interface Allowance {
  grants: number;
  opensAt: number;
}

/** When the last grants of queues with a rate limit were made: of each queue as many as its limit, numbered without gaps. */
export class RateLog {
  readonly #newest: Query<[no: number | null]>;
  readonly #firstSince: Query<[no: number, at: number]>;
  readonly #add: Command;
  readonly #trim: Command;
  readonly #forget: Command;

  constructor(db: DatabaseSync) {
    this.#newest = query(db, 'SELECT MAX(no) FROM rate_log WHERE queue_no = ?');
    this.#firstSince = query(
      db,
      'SELECT no, at FROM rate_log WHERE queue_no = ? AND no BETWEEN ? AND ? AND at > ? ORDER BY no LIMIT 1',
    );
    this.#add = command(db, 'INSERT INTO rate_log (queue_no, no, at) VALUES (?, ?, ?)');
    this.#trim = command(db, 'DELETE FROM rate_log WHERE queue_no = ? AND no <= ?');
    this.#forget = command(db, 'DELETE FROM rate_log WHERE queue_no = ?');
  }

  /** How many of `max` grants are allowed. The n-th is while the one `limit` grants before it is a period ago. */
  allowance(queue: Queue, rate: RateLimit, max: number, now: number): Allowance {
    const newest = this.#newest.get(queue.no)?.[0] ?? 0;
    const first = newest + 1 - rate.limit;
    const most = Math.min(max, rate.limit);
    const recent = this.#firstSince.get(queue.no, first, first + most - 1, now - rate.periodMs);
    if (recent !== undefined) return { grants: recent[0] - first, opensAt: rateOpensAt(rate, recent[1]) };
    return { grants: most, opensAt: rateOpensAt(rate, now) };
  }

  /** Notes grants made now. */
  add(queue: Queue, rate: RateLimit, grants: number, now: number): void {
    const newest = this.#newest.get(queue.no)?.[0] ?? 0;
    for (let no = newest + 1; no <= newest + grants; no++) this.#add(queue.no, no, now);
    this.#trim(queue.no, newest + grants - rate.limit);
  }

  forget(queue: Queue): void {
    this.#forget(queue.no);
  }
}
