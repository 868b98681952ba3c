import type { Redis } from 'ioredis';
import { isRefused } from './failures.ts';
import { Link, type LinkOptions } from './link.ts';

/** A connection on which nothing is published may have lost its other end: it is tried this often. */
const PING_MS = 3000;

export interface SubscriptionOptions extends Pick<LinkOptions, 'client' | 'endpoint' | 'accept'> {
  hear: (channel: string, message: string) => void;
  /** There is a connection, without subscriptions. */
  up: () => void;
  /** The server has ended subscriptions because their slot has moved away. */
  ended?: () => void;
}

/** How an attempt to subscribe went: a server that refuses may accept it later, one that forbids it to this user will not soon. */
export type Subscribed = 'done' | 'lost' | 'refused' | 'forbidden';

/** A connection for subscriptions alone. Its loss is noticed within seconds, also when the other host has vanished. */
export class Subscription {
  readonly #link: Link;
  #pinging: NodeJS.Timeout | undefined;
  /** What the client has said of moved slots and no refusal of ours accounts for. */
  #moves = 0;

  constructor({ hear, up, ended, ...options }: SubscriptionOptions) {
    this.#link = new Link({
      ...options,
      up: (redis) => {
        redis.on('smessage', hear);
        redis.on('moved', () => {
          this.#moves++;
          // The client says this of a refused subscription too, before it rejects: that one is known then.
          setImmediate(() => {
            if (this.#moves === 0 || this.#link.redis !== redis) return;
            this.#moves = 0;
            ended?.();
          });
        });
        this.#moves = 0;
        clearInterval(this.#pinging);
        this.#pinging = setInterval(() => void this.#ping(redis), PING_MS);
        this.#pinging.unref();
        up();
      },
      // The command connection reports what is wrong with the server; this one comes back by itself.
      down: () => clearInterval(this.#pinging),
    });
  }

  start(): void {
    this.#link.start();
  }

  async subscribe(channels: readonly string[]): Promise<Subscribed> {
    const { redis } = this.#link;
    if (redis === null) return 'lost';
    try {
      await redis.ssubscribe(...channels);
      return 'done';
    } catch (error) {
      if (isRefused(error)) {
        if (error instanceof Error && error.message.startsWith('MOVED ')) this.#moves = Math.max(0, this.#moves - 1);
        return 'refused';
      }
      if (isReply(error)) return 'forbidden';
      // A connection that cannot subscribe is of no use: the next one starts over.
      this.#leave(redis);
      return 'lost';
    }
  }

  unsubscribe(channel: string): void {
    this.#link.redis?.sunsubscribe(channel).catch(() => {});
  }

  /** The server is not the one to listen to any more. */
  drop(): void {
    this.#link.drop();
  }

  close(): void {
    clearInterval(this.#pinging);
    this.#link.close();
  }

  async #ping(redis: Redis): Promise<void> {
    try {
      await redis.ping();
    } catch (error) {
      // A refusal is an answer.
      if (!isReply(error)) this.#leave(redis);
    }
  }

  #leave(redis: Redis): void {
    if (this.#link.redis === redis) this.#link.drop();
  }
}

function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
