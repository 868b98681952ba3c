import type { Redis } from 'ioredis';
import { StoreError } from '../store.ts';

/**
 * How long replicas may take. A call may have to wait for the round before it and then for its own; each must stay below the
 * time after which an unanswered command counts as lost.
 */
const WAIT_MS = 800;

/** Replies to the mark that tell of its key, and not of the connection: another key may do. */
const KEY_ELSEWHERE = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;
/** Keys that are tried for one mark. */
const MAX_KEYS = 8;

/** Replies that tell nothing against the calls before: they are made again, which answers alike and is confirmed. */
const ASK_AGAIN =
  /^(ERR Function not found|ERR WAIT cannot be used with replica|UNBLOCKED|READONLY|LOADING|MASTERDOWN|MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;

interface Waiting {
  redis: Redis;
  /** Over which the call went. */
  stream: unknown;
  key: string;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface ReplicationOptions {
  /** How many must hold what is promised. */
  replicas: number;
  /** Sends one write to the keys that begin with `key`. */
  mark: (redis: Redis, key: string) => Promise<unknown>;
}

/**
 * Has replicas confirm what was done over a connection, before it is answered: WAIT counts the replicas that hold all that the
 * connection has written, and what others had written before that.
 *
 * WAIT holds its connection up, so there is one at a time, sent together with the calls of one turn; calls that are sent while it is
 * under way share the next one. Each comes after a write of its own (the mark). Without it a connection that has only read, such
 * as one that is new and finds an enqueue stored that another connection has made, would wait for nothing, and the answer would promise what
 * no replica has to hold.
 */
export class Replication {
  readonly #replicas: number;
  readonly #mark: ReplicationOptions['mark'];
  #waiting: Waiting[] = [];
  #underWay = false;
  #tooFew: number | null = null;

  constructor({ replicas, mark }: ReplicationOptions) {
    this.#replicas = replicas;
    this.#mark = mark;
  }

  /** How many replicas confirmed the last time, where that was too few; null otherwise. */
  get tooFew(): number | null {
    return this.#tooFew;
  }

  /**
   * To be called in the same breath in which a call is sent. Resolves when enough replicas hold what it did, and all that it saw.
   * @param redis over which the call goes
   * @param key of the call
   * @throws StoreError when they do not within {@link WAIT_MS}; the client's error when the connection was lost before that was known
   */
  confirm(redis: Redis, key: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ redis, stream: redis.stream, key, resolve, reject });
    if (!this.#underWay) {
      this.#underWay = true;
      queueMicrotask(() => void this.#confirmAll());
    }
    return promise;
  }

  async #confirmAll(): Promise<void> {
    for (let last = this.#waiting.at(-1); last !== undefined; last = this.#waiting.at(-1)) {
      const { redis, stream } = last;
      const all = this.#waiting;
      this.#waiting = [];
      const calls = all.filter((call) => call.redis === redis && call.stream === stream && redis.stream === stream);
      // Another connection may lead to another server, which knows nothing of what went over the one before.
      const lost = calls.length === all.length ? [] : all.filter((call) => !calls.includes(call));
      for (const { reject } of lost) reject(new Error('the connection was lost before replicas had confirmed'));
      if (calls.length === 0) continue;
      try {
        await this.#ask(redis, [...new Set(calls.map(({ key }) => key).toReversed())].slice(0, MAX_KEYS));
        for (const { resolve } of calls) resolve();
      } catch (error) {
        for (const { reject } of calls) reject(error);
      }
    }
    this.#underWay = false;
  }

  /** @param keys of the calls: a shard that is refused here must not be in the way of the others */
  async #ask(redis: Redis, [key = '', ...others]: readonly string[]): Promise<void> {
    const [marked, counted] = await Promise.allSettled([this.#mark(redis, key), redis.wait(this.#replicas, WAIT_MS)]);
    // First, since nothing more is asked over a connection that may have been lost.
    if (counted.status === 'rejected') throw retold(counted.reason);
    const confirming = counted.value;
    // Too few, of whatever this connection has written: another key would only be waited for as long again.
    if (marked.status === 'rejected' && confirming >= this.#replicas) {
      if (others.length > 0 && isReply(marked.reason, KEY_ELSEWHERE)) return this.#ask(redis, others);
      throw retold(marked.reason);
    }
    this.#tooFew = confirming >= this.#replicas ? null : confirming;
    if (confirming >= this.#replicas) return;
    throw new StoreError(
      'unavailable',
      `Redis: ${confirming} of ${this.#replicas} replicas confirmed within ${WAIT_MS} ms; see that the replicas are connected and keep up`,
    );
  }
}

/** As the loss of a connection, where that is what it comes to. */
function retold(error: unknown): unknown {
  return isReply(error, ASK_AGAIN) ? new Error(`not confirmed: ${error.message}`) : error;
}

function isReply(error: unknown, pattern: RegExp): error is Error {
  return error instanceof Error && pattern.test(error.message);
}
