import { StoreError } from '../store.ts';
import { toStoreError } from './sqlite-error.ts';

/** How a group becomes durable. */
export interface Transaction {
  begin(): void;
  commit(): void;
  /** Undoes all since `begin`, in memory too; also called when `begin` or `commit` failed. Never throws. */
  rollback(): void;
}

interface Pending {
  /** Runs the operation and keeps its answer, which `answer` gives once it is committed. */
  execute(): void;
  answer(): void;
  fail(error: unknown): void;
}

/** A group is committed after this time, so that a long one does not hold up the event loop. */
const MAX_GROUP_MS = 20;

/**
 * Commits operations together that arrive in the same turn of the event loop: one transaction and one wait for
 * the disk for all of them, each answered once that is done. When one of them throws, the group is undone and
 * each runs in a transaction of its own, so that the error reaches its caller alone.
 */
export class GroupCommit {
  readonly #transaction: Transaction;
  #pending: Pending[] = [];
  #scheduled = false;
  #closed = false;

  constructor(transaction: Transaction) {
    this.#transaction = transaction;
  }

  /**
   * Runs `operation` in the next group. It may be run twice, the first time undone, so it must leave no trace but
   * in the database and in what the transaction rolls back.
   */
  run<Result>(operation: () => Result): Promise<Result> {
    if (this.#closed) return Promise.reject(new StoreError('closed', 'the store is closed'));
    return new Promise((resolve, reject) => {
      let result: { value: Result } | null = null;
      this.#pending.push({
        execute: () => {
          result = { value: operation() };
        },
        answer: () => {
          if (result) resolve(result.value);
        },
        fail: (error) => reject(toStoreError(error)),
      });
      this.#schedule();
    });
  }

  /** Commits what was accepted and refuses all else from now on. */
  close(): void {
    this.#closed = true;
    while (this.#pending.length > 0) this.#commitGroup();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#commitGroup();
      if (this.#pending.length > 0) this.#schedule();
    });
  }

  #commitGroup(): void {
    const group = this.#pending;
    this.#pending = [];
    if (group.length === 0) return;
    const deadline = performance.now() + MAX_GROUP_MS;
    let executed = 0;
    try {
      this.#transaction.begin();
      for (const operation of group) {
        operation.execute();
        executed += 1;
        if (performance.now() > deadline) break;
      }
      this.#transaction.commit();
    } catch (error) {
      this.#transaction.rollback();
      // What comes after the one that threw has not been tried and is a group again.
      this.#pending = group.splice(executed + 1);
      if (group.length === 1) group[0]?.fail(error);
      else for (const operation of group) this.#commitAlone(operation);
      return;
    }
    this.#pending = group.splice(executed);
    for (const operation of group) operation.answer();
  }

  #commitAlone(operation: Pending): void {
    try {
      this.#transaction.begin();
      operation.execute();
      this.#transaction.commit();
    } catch (error) {
      this.#transaction.rollback();
      operation.fail(error);
      return;
    }
    operation.answer();
  }
}
