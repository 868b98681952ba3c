import type { Wakes } from '../store.ts';
import type { Keyspace } from './keys.ts';
import type { Subscriber } from './subscriber.ts';

/** Queues without waiters stay subscribed for this long: waiters come and go, subscriptions need not. */
const LINGER_MS = 30_000;
/** Channels named in one command. */
const MAX_CHANNELS = 100;

export interface RedisWakesOptions {
  /** For this alone. */
  subscriber: Subscriber;
  keys: Keyspace;
  /** Names this process in what is published. */
  origin: string;
  /** Has the ends of a queue's tasks published for a while. */
  watchQueue: (queue: string, forMs: number) => Promise<void>;
}

/**
 * Wake-ups from other processes, on connections of their own. A publication that is lost (the connection was down, the
 * server failed over) is made up for: whenever a subscription begins, its queue is reported once, or any task as ended.
 */
export class RedisWakes implements Wakes {
  readonly #subscriber: Subscriber;
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
  #closed = false;

  constructor({ subscriber, keys, origin, watchQueue }: RedisWakesOptions) {
    this.#subscriber = subscriber;
    this.#keys = keys;
    this.#origin = origin;
    this.#watchQueue = watchQueue;
    subscriber.listen({
      hear: (channel, message) => this.#hear(channel, message),
      begun: (shards) => {
        const queues = [...this.#queues.keys()];
        this.#subscribe(shards === null ? queues : queues.filter((queue) => shards.includes(keys.shardOfQueue(queue))));
        for (const shard of this.#endings) {
          if (shards === null || shards.includes(shard)) void this.#subscribeToEnds(shard);
        }
      },
    });
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
      this.#subscriber.start(shard);
      await this.#subscribeToEnds(shard);
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

  watch(queue: string): void {
    if (this.#closed) return;
    const known = this.#queues.get(queue);
    if (known) {
      known.idleSince = null;
      return;
    }
    const shard = this.#keys.shardOfQueue(queue);
    this.#queues.set(queue, { channel: `${this.#keys.base(shard)}:ready:${queue}`, idleSince: null });
    this.#subscriber.start(shard);
    this.#subscribe([queue]);
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
    this.#subscriber.close();
  }

  #subscribe(queues: readonly string[]): void {
    for (let first = 0; first < queues.length; first += MAX_CHANNELS) {
      for (const [shard, some] of this.#byShard(queues.slice(first, first + MAX_CHANNELS))) {
        const channels = some.map((queue) => `${this.#keys.base(shard)}:ready:${queue}`);
        void this.#subscribeTo(shard, channels, () => {
          for (const queue of some) this.#listener(queue);
        });
      }
    }
  }

  #subscribeToEnds(shard: number): Promise<void> {
    return this.#subscribeTo(shard, [`${this.#keys.base(shard)}:finished`], () => this.#finished(null));
  }

  /** @param missed whatever was published before went past: has whoever waits ask once more */
  async #subscribeTo(shard: number, channels: readonly string[], missed: () => void): Promise<void> {
    if (!this.#closed && (await this.#subscriber.subscribe(shard, channels))) missed();
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
      this.#subscriber.unsubscribe(this.#keys.shardOfQueue(queue), channel);
    }
  }
}
