import { Redis } from 'ioredis';
import { withoutCommand } from './failures.ts';
import type { ClientOptions, Endpoint } from './location.ts';
import { COMMAND_TIMEOUT_MS } from './patience.ts';

const CONNECT_TIMEOUT_MS = 2000;
/** A connection that is of no use is given this long to close by itself. */
const DISCONNECT_TIMEOUT_MS = 100;
/** How often a server that loads its data is asked whether it has, at least. */
const LOADING_MS = 500;
/** Waits between attempts to connect, growing to this. */
const MAX_RECONNECT_MS = 500;
const RECONNECT_STEP_MS = 50;

export interface LinkOptions {
  /** Credentials and the like. */
  client: ClientOptions;
  /** Where to connect to, asked before every attempt. */
  endpoint: () => Endpoint | Promise<Endpoint>;
  /** Whether to stay with a server that has let us in; throws when not. */
  accept?: (redis: Redis) => Promise<void>;
  /** There is a connection. */
  up: (redis: Redis) => void;
  /** There is none any more, or an attempt to make one has failed. */
  down: (reason: Error) => void;
}

/** A client for one connection: it sends nothing twice, queues nothing, and is at its end when the connection is lost. */
function makeClient(client: ClientOptions, { host, port }: Endpoint): Redis {
  return new Redis({
    ...client,
    host,
    port,
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // One command less that a user with few rights would need.
    disableClientInfo: true,
    enableReadyCheck: true,
    maxLoadingRetryTime: LOADING_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    retryStrategy: () => null,
  });
}

/**
 * The first error of a client. Its own rejections only say "Connection is closed"; the reason is in the event before. It may be about the
 * command that carries the password.
 */
function reasonsOf(redis: Redis): readonly Error[] {
  const reasons: Error[] = [];
  redis.on('error', (error: Error) => {
    if (reasons.length === 0) reasons.push(withoutCommand(error));
  });
  return reasons;
}

/**
 * Asks a server something over a connection of its own, which is closed when that has taken too long.
 * @throws what the client says
 */
export async function askOnce<Answer>(
  client: ClientOptions,
  endpoint: Endpoint,
  withinMs: number,
  ask: (redis: Redis) => Promise<Answer>,
): Promise<Answer> {
  const redis = makeClient(client, endpoint);
  const reasons = reasonsOf(redis);
  // A server that loads its data lets nobody in before it has, however long that takes.
  const timer = setTimeout(() => redis.disconnect(), withinMs);
  try {
    await redis.connect();
    return await ask(redis);
  } catch (error) {
    throw reasons[0] ?? (error instanceof Error ? withoutCommand(error) : error);
  } finally {
    clearTimeout(timer);
    redis.disconnect();
  }
}

/**
 * One connection that is made again for ever, with a new client each time: a client that is at its end, for whatever reason,
 * needs nobody to notice.
 */
export class Link {
  /** The client that is connected, if one is. */
  redis: Redis | null = null;
  readonly #options: LinkOptions;
  #client: Redis | null = null;
  readonly #first = Promise.withResolvers<void>();
  #keeping = false;
  #wake: () => void = () => {};
  #closed = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /**
   * Connects, and stays connected until `close`.
   * @throws why the first attempt failed; others follow
   */
  connect(): Promise<void> {
    if (!this.#keeping) {
      this.#keeping = true;
      void this.#keep();
    }
    return this.#first.promise;
  }

  /** Begins to connect, whether that works at once or not. */
  start(): void {
    this.connect().catch(() => {});
  }

  /** The present connection is of no use: a new one is made. */
  drop(): void {
    this.#client?.disconnect();
  }

  close(): void {
    this.#closed = true;
    this.#client?.disconnect();
    this.#wake();
  }

  async #keep(): Promise<void> {
    for (let failures = 0; !this.#closed; ) {
      try {
        const { redis, ended } = await this.#open();
        failures = 0;
        this.redis = redis;
        this.#options.up(redis);
        this.#first.resolve();
        const reason = await ended;
        this.redis = null;
        if (!this.#closed) this.#options.down(reason);
      } catch (error) {
        this.#first.reject(error);
        if (!this.#closed) this.#options.down(error instanceof Error ? error : new Error(String(error)));
        failures++;
      }
      this.#client = null;
      if (!this.#closed) await this.#pause(Math.min((failures + 1) * RECONNECT_STEP_MS, MAX_RECONNECT_MS));
    }
  }

  async #open(): Promise<{ redis: Redis; ended: Promise<Error> }> {
    const { client, endpoint, accept } = this.#options;
    const { host, port } = await endpoint();
    if (this.#closed) throw new Error('closed');
    const redis = makeClient(client, { host, port });
    this.#client = redis;
    const reasons = reasonsOf(redis);
    const ended = new Promise<Error>((resolve) => {
      redis.once('end', () => resolve(reasons[0] ?? new Error('the connection was closed')));
    });
    try {
      await redis.connect();
      // A database that cannot be selected is no reason for the client to give up: it would go on with number 0.
      if (reasons[0] !== undefined) throw reasons[0];
      await accept?.(redis);
    } catch (error) {
      redis.disconnect();
      throw reasons[0] ?? (error instanceof Error ? withoutCommand(error) : error);
    }
    return { redis, ended };
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
  }
}
