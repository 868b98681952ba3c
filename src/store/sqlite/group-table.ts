import type { DatabaseSync } from 'node:sqlite';
import { isTerminal } from '../../domain/task.ts';
import { type Command, command, type Query, query } from './query.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';

/** A task that waits in the line of its group. */
export interface GroupMember {
  seq: number;
  priority: number;
  groupPlace: number;
  /** In the line of its queue: where it stands, or would like to. */
  place: number | null;
}

/** Groups are the tasks that name them: nothing of a group is kept beside those that have not ended. */
export class GroupTable {
  readonly #first: Query<[seq: number, priority: number, groupPlace: number, place: number | null]>;
  readonly #leased: Query<[one: number]>;
  readonly #waiting: Query<[one: number]>;
  readonly #leasedKeys: Query<[key: string | null]>;
  readonly #blockedAfter: Query<[seq: number, key: string]>;
  readonly #store: Command;
  readonly #move: Command;
  readonly #plan: Command;
  readonly #planned: Query<[queueNo: number, after: number]>;
  readonly #drop: Command;

  constructor(db: DatabaseSync) {
    const members = 'FROM tasks INDEXED BY tasks_group WHERE queue_no = ? AND group_key = ?';
    this.#first = query(
      db,
      `SELECT seq, priority, group_place, place ${members} AND group_phase = ? ORDER BY group_place LIMIT 1`,
    );
    const some = (rest: string) => `SELECT 1 ${members} AND ${rest} LIMIT ? + 0`;
    this.#leased = query(db, some(`group_phase = 'leased'`));
    this.#waiting = query(db, some(`group_phase = 'scheduled'`));
    this.#leasedKeys = query(
      db,
      `SELECT group_key FROM tasks INDEXED BY tasks_state WHERE queue_no = ? AND state = 'leased' LIMIT ? + 0`,
    );
    this.#blockedAfter = query(
      db,
      `SELECT seq, group_key FROM tasks INDEXED BY tasks_state
        WHERE queue_no = ? AND state = 'blocked' AND seq > ? ORDER BY seq LIMIT ? + 0`,
    );
    this.#store = command(db, 'UPDATE tasks SET group_key = ?, group_place = ?, group_phase = ? WHERE seq = ?');
    this.#move = command(db, 'UPDATE tasks SET state = ?1, group_phase = ?1, place = ?2 WHERE seq = ?3');
    this.#plan = command(db, 'INSERT OR REPLACE INTO regroupings (queue_no, after_seq) VALUES (?, ?)');
    this.#planned = query(
      db,
      'SELECT queue_no, after_seq FROM regroupings WHERE queue_no >= 0 ORDER BY queue_no LIMIT 1',
    );
    this.#drop = command(db, 'DELETE FROM regroupings WHERE queue_no = ?');
  }

  /** The first task of a group in one of the states in which its place counts. */
  first(queue: Queue, key: string, state: 'ready' | 'blocked'): GroupMember | null {
    const columns = this.#first.get(queue.no, key, state);
    if (columns === undefined) return null;
    const [seq, priority, groupPlace, place] = columns;
    return { seq, priority, groupPlace, place };
  }

  /** How many tasks of the group are leased, counted to `most`. */
  leased(queue: Queue, key: string, most: number): number {
    return this.#leased.all(queue.no, key, most).length;
  }

  /** How many of its tasks wait for their time and keep their place, counted to `most`. */
  waitingInPlace(queue: Queue, key: string, most: number): number {
    return this.#waiting.all(queue.no, key, most).length;
  }

  /** Whether one of up to `limit` leased tasks of a queue has a blocked one in its group. */
  isBlockedByLease(queue: Queue, limit: number): boolean {
    const keys = new Set(this.#leasedKeys.all(queue.no, limit).map(([key]) => key));
    return [...keys].some((key) => key !== null && this.first(queue, key, 'blocked') !== null);
  }

  /** Writes a task's group, its place in there and whether it counts; to be called whenever its state has changed. */
  save(task: Task): void {
    const counts = !isTerminal(task.state) && task.groupPlace !== null;
    this.#store(task.groupKey, task.groupPlace, counts ? task.state : null, task.seq);
  }

  /** Moves a task that waits in or out of the line of its queue. */
  move(seq: number, state: 'ready' | 'blocked', place: number | null): void {
    this.#move(state, place, seq);
  }

  /** Has all groups of a queue looked at, in steps; the first time after the task numbered 0. */
  plan(queueNo: number, after: number): void {
    this.#plan(queueNo, after);
  }

  planned(): { queueNo: number; after: number } | null {
    const columns = this.#planned.get();
    return columns === undefined ? null : { queueNo: columns[0], after: columns[1] };
  }

  drop(queueNo: number): void {
    this.#drop(queueNo);
  }

  /** Blocked tasks of a queue in the order of their creation. */
  blockedAfter(queue: Queue, after: number, limit: number): { seq: number; key: string }[] {
    return this.#blockedAfter.all(queue.no, after, limit).map(([seq, key]) => ({ seq, key }));
  }
}
