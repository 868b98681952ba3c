import type { Redis } from 'ioredis';
import { StoreError } from '../store.ts';

/**
 * How long replicas may take. A call may have to wait for the round before it and then for its own; each must stay below the
 * time after which an unanswered command counts as lost.
 */
export const WAIT_MS = 800;

/** Replies to the mark that tell nothing against the calls before it: they are asked again, which answers alike and is confirmed. */
const ASK_AGAIN = /^(ERR Function not found|MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;

interface Waiting {
  /** Over which the call went. */
  stream: unknown;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface ReplicationOptions {
  redis: Redis;
  /** That must hold what is promised. */
  replicas: number;
  /** Sends one write to the keys that begin with `key`, over the same connection. */
  mark: (key: string) => Promise<unknown>;
}

/**
 * Has replicas confirm what was done over one connection, before it is answered: WAIT counts the replicas that hold all that the
 * connection has written, and what others had written before that.
 *
 * WAIT holds its connection up, so there is one at a time, sent together with the calls of one turn; calls that are sent while it is
 * under way share the next one. Each comes after a write of its own (the mark). Without it a connection that has only read, such
 * as one that is new and finds an enqueue stored that another connection has made, would wait for nothing, and the answer would promise what
 * no replica has to hold.
 */
export class Replication {
  readonly #redis: Redis;
  readonly #replicas: number;
  readonly #mark: (key: string) => Promise<unknown>;
  #waiting: Waiting[] = [];
  #key = '';
  #underWay = false;
  #confirming: number | null = null;

  constructor({ redis, replicas, mark }: ReplicationOptions) {
    this.#redis = redis;
    this.#replicas = replicas;
    this.#mark = mark;
  }

  /** How many replicas confirmed the last time, where that was too few; null otherwise. */
  get tooFew(): number | null {
    return this.#confirming;
  }

  /**
   * To be called in the same breath in which a call was sent. Resolves when enough replicas hold what it did, and all that it saw.
   * @param key of the call
   * @throws StoreError when they do not within {@link WAIT_MS}; the client's error when the connection over which the call went was
   *   lost before that was known
   */
  confirm(key: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ stream: this.#redis.stream, resolve, reject });
    this.#key = key;
    if (!this.#underWay) {
      this.#underWay = true;
      queueMicrotask(() => void this.#confirmAll());
    }
    return promise;
  }

  async #confirmAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const { stream } = this.#redis;
      const all = this.#waiting;
      this.#waiting = [];
      // Another connection may lead to another server, which knows nothing of what went over the one before.
      const lost = all.filter((call) => call.stream !== stream);
      for (const { reject } of lost) reject(new Error('the connection was lost before replicas had confirmed'));
      const calls = all.filter((call) => call.stream === stream);
      if (calls.length === 0) continue;
      try {
        await this.#ask();
        for (const { resolve } of calls) resolve();
      } catch (error) {
        for (const { reject } of calls) reject(error);
      }
    }
    this.#underWay = false;
  }

  async #ask(): Promise<void> {
    const [marked, counted] = await Promise.allSettled([
      this.#mark(this.#key),
      this.#redis.wait(this.#replicas, WAIT_MS),
    ]);
    if (marked.status === 'rejected') throw markError(marked.reason);
    if (counted.status === 'rejected') throw counted.reason;
    const confirming = counted.value;
    this.#confirming = confirming >= this.#replicas ? null : confirming;
    if (confirming >= this.#replicas) return;
    throw new StoreError(
      'unavailable',
      `Redis: ${confirming} of ${this.#replicas} replicas confirmed within ${WAIT_MS} ms; see that the replicas are connected and keep up`,
    );
  }
}

function markError(error: unknown): unknown {
  return error instanceof Error && ASK_AGAIN.test(error.message) ? new Error(`not confirmed: ${error.message}`) : error;
}
