import type { DatabaseSync } from 'node:sqlite';
import type { QueueRecord } from '../store.ts';
import { type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';

/** Queues as the port shows them: what is kept in the row, and two times looked up in the indexes of the lines. */
export class QueueView {
  readonly #headBelow: Query<[priority: number, runAt: number]>;
  readonly #nextRunAt: Query<[runAt: number]>;

  constructor(db: DatabaseSync) {
    this.#headBelow = query(
      db,
      `SELECT priority, run_at FROM tasks INDEXED BY tasks_line
        WHERE queue_no = ? AND state = 'ready' AND priority < ? ORDER BY priority DESC, place LIMIT 1`,
    );
    this.#nextRunAt = query(
      db,
      `SELECT run_at FROM tasks INDEXED BY tasks_next_run
        WHERE queue_no = ? AND state = 'scheduled' ORDER BY run_at LIMIT 1`,
    );
  }

  record(queue: Queue): Omit<QueueRecord, 'rateOpensAt' | 'blockedByLease'> {
    return {
      name: queue.name,
      paused: queue.paused,
      createdAt: queue.createdAt,
      settings: queue.settings,
      config: queue.config,
      counts: { ...queue.counts },
      totals: { ...queue.totals },
      oldestReadyAt: queue.counts.ready === 0 ? null : this.#oldestReadyAt(queue.no),
      nextRunAt: queue.counts.scheduled === 0 ? null : (this.#nextRunAt.get(queue.no)?.[0] ?? null),
    };
  }

  #oldestReadyAt(queueNo: number): number | null {
    let oldest: number | null = null;
    for (let head = this.#headBelow.get(queueNo, 10); head; head = this.#headBelow.get(queueNo, head[0])) {
      if (oldest === null || head[1] < oldest) oldest = head[1];
    }
    return oldest;
  }
}
