import type { Redis } from 'ioredis';
import type { ClusterConnection } from './cluster.ts';
import { isRefused } from './failures.ts';
import { Link } from './link.ts';
import { type ClientOptions, type Endpoint, nameOf } from './location.ts';

/** A shard that its server refuses is subscribed to again after this. */
const RETRY_MS = 100;

export interface SubscriberEvents {
  hear: (channel: string, message: string) => void;
  /** There is a connection without subscriptions for these shards, or for all of them. */
  begun: (shards: readonly number[] | null) => void;
}

/** Connections for subscriptions alone, to wherever the shards are. */
export interface Subscriber {
  /** To be called once, before anything else. */
  listen(events: SubscriberEvents): void;
  /** Begins to connect to where the shard is. */
  start(shard: number): void;
  /** @returns false when that did not work; `begun` tells when to try again */
  subscribe(shard: number, channels: readonly string[]): Promise<boolean>;
  unsubscribe(shard: number, channel: string): void;
  close(): void;
}

/** Subscriptions on the one server that takes writes. */
export class LinkSubscriber implements Subscriber {
  readonly #link: Link;
  #events: SubscriberEvents | null = null;

  constructor(
    client: ClientOptions,
    endpoint: () => Endpoint | Promise<Endpoint>,
    accept?: (redis: Redis) => Promise<void>,
  ) {
    this.#link = new Link({
      client,
      endpoint,
      ...(accept && { accept }),
      up: (redis) => {
        redis.on('smessage', (channel: string, message: string) => this.#events?.hear(channel, message));
        this.#events?.begun(null);
      },
      // The command connection reports what is wrong with the server; this one comes back by itself.
      down: () => {},
    });
  }

  listen(events: SubscriberEvents): void {
    this.#events = events;
  }

  start(): void {
    this.#link.start();
  }

  async subscribe(_shard: number, channels: readonly string[]): Promise<boolean> {
    const { redis } = this.#link;
    if (redis === null) return false;
    try {
      await redis.ssubscribe(...channels);
      return true;
    } catch {
      // A connection that cannot subscribe is of no use: the next one starts over.
      if (this.#link.redis === redis) this.#link.drop();
      return false;
    }
  }

  unsubscribe(_shard: number, channel: string): void {
    this.#link.redis?.sunsubscribe(channel).catch(() => {});
  }

  /** The server is not the one to listen to any more. */
  drop(): void {
    this.#link.drop();
  }

  close(): void {
    this.#link.close();
  }
}

/** Subscriptions on each primary of a cluster, which follow the shards. */
export class ClusterSubscriber implements Subscriber {
  readonly #cluster: ClusterConnection;
  readonly #client: ClientOptions;
  readonly #shards: number;
  readonly #links = new Map<string, Link>();
  #events: SubscriberEvents | null = null;
  #closed = false;

  constructor(cluster: ClusterConnection, client: ClientOptions, shards: number) {
    this.#cluster = cluster;
    this.#client = client;
    this.#shards = shards;
    cluster.onMoved((moved) => {
      this.#leave();
      this.#events?.begun(moved);
    });
  }

  listen(events: SubscriberEvents): void {
    this.#events = events;
  }

  start(shard: number): void {
    const endpoint = this.#cluster.endpointOf(shard);
    if (endpoint !== null) this.#linkTo(endpoint).start();
  }

  async subscribe(shard: number, channels: readonly string[]): Promise<boolean> {
    const endpoint = this.#cluster.endpointOf(shard);
    if (endpoint === null) return false;
    const link = this.#linkTo(endpoint);
    link.start();
    const { redis } = link;
    if (redis === null) return false;
    try {
      await redis.ssubscribe(...channels);
      return true;
    } catch (error) {
      if (!isRefused(error)) {
        if (link.redis === redis) link.drop();
        return false;
      }
      await this.#cluster.lookAgain();
      const timer = setTimeout(() => {
        if (!this.#closed) this.#events?.begun([shard]);
      }, RETRY_MS);
      timer.unref();
      return false;
    }
  }

  unsubscribe(shard: number, channel: string): void {
    const endpoint = this.#cluster.endpointOf(shard);
    if (endpoint !== null)
      this.#links
        .get(nameOf(endpoint))
        ?.redis?.sunsubscribe(channel)
        .catch(() => {});
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#links.values()) link.close();
  }

  #linkTo(endpoint: Endpoint): Link {
    const name = nameOf(endpoint);
    let link = this.#links.get(name);
    if (link === undefined) {
      link = new Link({
        client: this.#client,
        endpoint: () => endpoint,
        up: (redis) => {
          redis.on('smessage', (channel: string, message: string) => this.#events?.hear(channel, message));
          // The server has ended subscriptions because their slot has moved away: they may have to begin anew elsewhere.
          redis.on('moved', () => void this.#cluster.lookAgain().then(() => this.#events?.begun(this.#shardsAt(name))));
          this.#events?.begun(this.#shardsAt(name));
        },
        down: () => {},
      });
      this.#links.set(name, link);
    }
    return link;
  }

  #shardsAt(name: string): number[] {
    return Array.from({ length: this.#shards }, (_, shard) => shard).filter((shard) => {
      const endpoint = this.#cluster.endpointOf(shard);
      return endpoint !== null && nameOf(endpoint) === name;
    });
  }

  /** Closes connections to servers that are the primary of no shard any more. */
  #leave(): void {
    for (const [name, link] of this.#links) {
      if (this.#shardsAt(name).length > 0) continue;
      link.close();
      this.#links.delete(name);
    }
  }
}
