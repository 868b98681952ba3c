import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { ClusterConnection } from './cluster.ts';
import { type ClientOptions, type Endpoint, nameOf } from './location.ts';
import { Retries } from './retries.ts';
import { type Subscribed, Subscription } from './subscription.ts';

/** A shard that its server refuses is subscribed to again after this. */
const RETRY_MS = 100;
/** One that this user may not subscribe to, after this. */
const FORBIDDEN_MS = 5000;

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

export interface LinkSubscriberOptions {
  client: ClientOptions;
  endpoint: () => Endpoint | Promise<Endpoint>;
  accept?: (redis: Redis) => Promise<void>;
  log: Logger | undefined;
}

/** Subscriptions on the one server that takes writes. */
export class LinkSubscriber implements Subscriber {
  readonly #subscription: Subscription;
  readonly #retries: Retries;
  readonly #complaint: Complaint;
  #events: SubscriberEvents | null = null;

  constructor({ log, ...options }: LinkSubscriberOptions) {
    this.#complaint = new Complaint(log);
    this.#retries = new Retries((shard) => this.#events?.begun([shard]));
    this.#subscription = new Subscription({
      ...options,
      hear: (channel, message) => this.#events?.hear(channel, message),
      up: () => this.#events?.begun(null),
    });
  }

  listen(events: SubscriberEvents): void {
    this.#events = events;
  }

  start(): void {
    this.#subscription.start();
  }

  async subscribe(shard: number, channels: readonly string[]): Promise<boolean> {
    const subscribed = await this.#subscription.subscribe(channels);
    this.#complaint.note(subscribed);
    if (subscribed === 'refused') this.#retries.later(shard, RETRY_MS);
    if (subscribed === 'forbidden') this.#retries.later(shard, FORBIDDEN_MS);
    return subscribed === 'done';
  }

  unsubscribe(_shard: number, channel: string): void {
    this.#subscription.unsubscribe(channel);
  }

  /** The server is not the one to listen to any more. */
  drop(): void {
    this.#subscription.drop();
  }

  close(): void {
    this.#retries.close();
    this.#subscription.close();
  }
}

/** Subscriptions on each primary of a cluster, which follow the shards. */
export class ClusterSubscriber implements Subscriber {
  readonly #cluster: ClusterConnection;
  readonly #client: ClientOptions;
  readonly #shards: number;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #retries: Retries;
  readonly #complaint: Complaint;
  #events: SubscriberEvents | null = null;

  constructor(cluster: ClusterConnection, client: ClientOptions, shards: number, log: Logger | undefined) {
    this.#cluster = cluster;
    this.#client = client;
    this.#shards = shards;
    this.#complaint = new Complaint(log);
    this.#retries = new Retries((shard) => this.#events?.begun([shard]));
    cluster.onMoved((moved) => {
      this.#leave();
      for (const shard of moved) this.#retries.forget(shard);
      this.#events?.begun(moved);
    });
  }

  listen(events: SubscriberEvents): void {
    this.#events = events;
  }

  start(shard: number): void {
    this.#at(shard)?.start();
  }

  async subscribe(shard: number, channels: readonly string[]): Promise<boolean> {
    const subscription = this.#at(shard);
    if (subscription === null) return false;
    subscription.start();
    const subscribed = await subscription.subscribe(channels);
    this.#complaint.note(subscribed);
    if (subscribed === 'forbidden') this.#retries.later(shard, FORBIDDEN_MS);
    if (subscribed === 'refused') {
      this.#retries.later(shard, RETRY_MS);
      await this.#cluster.lookAgain();
    }
    return subscribed === 'done';
  }

  unsubscribe(shard: number, channel: string): void {
    const endpoint = this.#cluster.endpointOf(shard);
    if (endpoint !== null) this.#subscriptions.get(nameOf(endpoint))?.unsubscribe(channel);
  }

  close(): void {
    this.#retries.close();
    for (const subscription of this.#subscriptions.values()) subscription.close();
  }

  /** The connection to where the shard is. */
  #at(shard: number): Subscription | null {
    const endpoint = this.#cluster.endpointOf(shard);
    if (endpoint === null) return null;
    const name = nameOf(endpoint);
    let subscription = this.#subscriptions.get(name);
    if (subscription === undefined) {
      subscription = new Subscription({
        client: this.#client,
        endpoint: () => endpoint,
        hear: (channel, message) => this.#events?.hear(channel, message),
        up: () => this.#events?.begun(this.#shardsAt(name)),
        // They may have to begin anew elsewhere; a shard that the map still has here is tried here.
        ended: () => {
          for (const moved of this.#shardsAt(name)) this.#retries.later(moved, RETRY_MS);
          void this.#cluster.lookAgain();
        },
      });
      this.#subscriptions.set(name, subscription);
    }
    return subscription;
  }

  #shardsAt(name: string): number[] {
    return Array.from({ length: this.#shards }, (_, shard) => shard).filter((shard) => {
      const endpoint = this.#cluster.endpointOf(shard);
      return endpoint !== null && nameOf(endpoint) === name;
    });
  }

  /** Closes connections to servers that are the primary of no shard any more. */
  #leave(): void {
    for (const [name, subscription] of this.#subscriptions) {
      if (this.#shardsAt(name).length > 0) continue;
      subscription.close();
      this.#subscriptions.delete(name);
    }
  }
}

/** Tells the log once that this user may not subscribe, and once that it may. */
class Complaint {
  readonly #log: Logger | undefined;
  #told = false;

  constructor(log: Logger | undefined) {
    this.#log = log;
  }

  note(subscribed: Subscribed): void {
    if (subscribed === 'forbidden' && !this.#told) {
      this.#told = true;
      this.#log?.warn(
        'the server does not let this user subscribe, so that tasks from other brokers are noticed seconds later: allow it +ssubscribe, +sunsubscribe and the channels of the prefix (docs/redis.md)',
      );
    }
    if (subscribed === 'done' && this.#told) {
      this.#told = false;
      this.#log?.info('the server lets this user subscribe again');
    }
  }
}
