import type { Redis } from 'ioredis';
import type { Wakes } from '../store.ts';
import type { Keyspace } from './keys.ts';

/** Queues without waiters stay subscribed for this long: waiters come and go, subscriptions need not. */
const LINGER_MS = 30_000;
/** Channels named in one command. */
const MAX_CHANNELS = 100;

export interface RedisWakesOptions {
  /** For this alone. */
  connection: Redis;
  keys: Keyspace;
  /** Names this process in what is published. */
  origin: string;
  /** Has the ends of a queue's tasks published for a while. */
  watchQueue: (queue: string, forMs: number) => Promise<void>;
}

/**
 * Wake-ups from other processes, on a connection of their own. A publication that is lost (the connection was down, the
 * server failed over) is made up for: whenever a subscription begins, its queue is reported once, or any task as ended.
 */
export class RedisWakes implements Wakes {
  readonly #connection: Redis;
  readonly #keys: Keyspace;
  readonly #origin: string;
  readonly #watchQueue: RedisWakesOptions['watchQueue'];
  /** Watched queues; a time is when the last waiter left. */
  readonly #queues = new Map<string, { channel: string; idleSince: number | null }>();
  #listener: (queue: string) => void = () => {};
  #finished: (id: string | null) => void = () => {};
  /** Shards whose ends of tasks are listened to. */
  readonly #endings = new Set<number>();
  #tidying: NodeJS.Timeout | undefined;
  #connecting = false;
  #closed = false;

  constructor({ connection, keys, origin, watchQueue }: RedisWakesOptions) {
    this.#connection = connection;
    this.#keys = keys;
    this.#origin = origin;
    this.#watchQueue = watchQueue;
    connection.on('smessage', (channel: string, message: string) => this.#hear(channel, message));
    connection.on('ready', () => {
      this.#subscribe([...this.#queues.keys()]);
      for (const shard of this.#endings) void this.#subscribeToEnds(shard);
    });
    // The command connection reports what is wrong with the server; this one comes back by itself.
    connection.on('error', () => {});
  }

  onReady(listener: (queue: string) => void): void {
    this.#listener = listener;
  }

  onFinished(listener: (id: string | null) => void): void {
    this.#finished = listener;
  }

  async watchTask(_id: string, queue: string, forMs: number): Promise<void> {
    if (this.#closed) return;
    const shard = this.#keys.shardOfQueue(queue);
    if (!this.#endings.has(shard)) {
      this.#endings.add(shard);
      if (this.#connection.status === 'ready') await this.#subscribeToEnds(shard);
      else this.#connect();
    }
    await this.#watchQueue(queue, forMs);
  }

  #hear(channel: string, message: string): void {
    const what = channel.slice(channel.lastIndexOf('}:') + '}:'.length);
    if (what === 'finished') {
      // Those of this process too: a sweep or a lease call may have ended it, of which no reply tells.
      this.#finished(message.slice(message.indexOf('|') + 1));
    } else if (message !== this.#origin) {
      this.#listener(what.slice('ready:'.length));
    }
  }

  #connect(): void {
    if (this.#connecting) return;
    this.#connecting = true;
    this.#connection.connect().catch(() => {});
  }

  watch(queue: string): void {
    if (this.#closed) return;
    const known = this.#queues.get(queue);
    if (known) {
      known.idleSince = null;
      return;
    }
    const channel = `${this.#keys.base(this.#keys.shardOfQueue(queue))}:ready:${queue}`;
    this.#queues.set(queue, { channel, idleSince: null });
    if (this.#connection.status === 'ready') this.#subscribe([queue]);
    else this.#connect();
    if (this.#tidying === undefined) {
      this.#tidying = setInterval(() => this.#tidy(), LINGER_MS);
      this.#tidying.unref();
    }
  }

  unwatch(queue: string): void {
    const known = this.#queues.get(queue);
    if (known) known.idleSince = performance.now();
  }

  /** Tasks of a queue became ready without anybody having been told. */
  wakeAll(queue: string): void {
    this.#listener(queue);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#tidying);
    this.#connection.disconnect();
  }

  #subscribe(queues: readonly string[]): void {
    for (let first = 0; first < queues.length; first += MAX_CHANNELS) {
      for (const [shard, some] of this.#byShard(queues.slice(first, first + MAX_CHANNELS))) {
        const channels = some.map((queue) => `${this.#keys.base(shard)}:ready:${queue}`);
        void this.#subscribeTo(channels, () => {
          for (const queue of some) this.#listener(queue);
        });
      }
    }
  }

  #subscribeToEnds(shard: number): Promise<void> {
    return this.#subscribeTo([`${this.#keys.base(shard)}:finished`], () => this.#finished(null));
  }

  /** @param missed whatever was published before went past: has whoever waits ask once more */
  async #subscribeTo(channels: readonly string[], missed: () => void): Promise<void> {
    try {
      await this.#connection.ssubscribe(...channels);
      missed();
    } catch {
      // A connection that cannot subscribe is of no use: the next one starts over.
      if (!this.#closed && this.#connection.status === 'ready') this.#connection.disconnect(true);
    }
  }

  /** One command may name channels of one slot only. */
  #byShard(queues: readonly string[]): Map<number, string[]> {
    return Map.groupBy(queues, (queue) => this.#keys.shardOfQueue(queue));
  }

  #tidy(): void {
    const now = performance.now();
    for (const [queue, { channel, idleSince }] of this.#queues) {
      if (idleSince === null || now - idleSince < LINGER_MS) continue;
      this.#queues.delete(queue);
      if (this.#connection.status === 'ready') this.#connection.sunsubscribe(channel).catch(() => {});
    }
  }
}
