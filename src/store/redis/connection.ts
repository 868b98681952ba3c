import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { StoreError } from '../store.ts';
import { isLost, isRefused, isReply, isTimeout, storeError } from './failures.ts';
import { LIBRARY_PREFIX, type Library, type OperationName } from './library.ts';
import { Link } from './link.ts';
import type { ClientOptions, Endpoint } from './location.ts';
import { Patience } from './patience.ts';
import { mayPromise, promises } from './promised.ts';
import { Replication } from './replication.ts';

/** Keys that one step of a scan looks at. */
const SCANNED = 500;
/** Reasons that are logged of one loss. */
const MAX_REASONS = 5;
const NO_FUNCTION = 'ERR Function not found';

/** A step of a scan. */
export interface ScannedKeys {
  keys: string[];
  /** Where to go on; null at the end. */
  next: string | null;
}

/** Calls to the servers that hold the data, whichever of them has a shard. */
export interface Connection {
  /** @throws why Redis cannot be reached or does not let us in */
  connect(): Promise<void>;
  close(): void;
  /**
   * Runs an operation on the keys that begin with `key`.
   * @param again told before it is sent once more because its reply was lost; null when that is not safe
   * @param since from when its patience counts: now, unless the call has waited for others
   * @throws StoreError
   */
  run(
    operation: OperationName,
    key: string,
    args: readonly (string | number)[],
    again: (() => void) | null,
    since?: number,
  ): Promise<unknown>;
  /** The servers that take writes, as far as they are known. */
  primaries(): readonly RedisConnection[];
  /** Which server or shard cannot be reached now, for people; null when all can, as far as is known. */
  trouble(): string | null;
}

export interface RedisConnectionOptions {
  /** Names the server in the log. */
  name: string;
  client: ClientOptions;
  endpoint: () => Endpoint | Promise<Endpoint>;
  accept?: (redis: Redis) => Promise<void>;
  library: Library;
  /** How many replicas must hold what is promised before it is. */
  replicas: number;
  log: Logger | undefined;
  /** There is a connection, the first or another. */
  onReady?: (connection: RedisConnection) => void;
}

/**
 * The one connection for commands to a server. The client queues nothing and sends nothing twice: a call whose reply was lost may
 * have run. What is safe to send again is sent again from here, within a bounded time.
 */
export class RedisConnection implements Connection {
  readonly name: string;
  /** Null where answers are given as soon as the server has them. */
  readonly replication: Replication | null;
  readonly #link: Link;
  readonly #library: Library;
  #redis: Redis | null = null;
  /** When the connection was lost, or when the command was sent that got no answer in time. */
  #downSince: number | null = null;
  #held = false;
  #back = Promise.withResolvers<void>();

  constructor({ name, client, endpoint, accept, library, replicas, log, onReady }: RedisConnectionOptions) {
    this.name = name;
    this.#library = library;
    const mark = (redis: Redis, key: string): Promise<unknown> =>
      redis.fcall(library.functionOf('confirm'), 1, key, '');
    this.replication = replicas > 0 ? new Replication({ replicas, mark }) : null;
    const told = new Set<string>();
    this.#link = new Link({
      client,
      endpoint,
      ...(accept && { accept }),
      up: (redis) => {
        if (told.size > 0) log?.info(`the connection to Redis at ${name} is back`);
        told.clear();
        this.#redis = redis;
        this.#downSince = null;
        this.#back.resolve();
        this.#back = Promise.withResolvers();
        onReady?.(this);
      },
      down: (reason) => {
        this.#redis = null;
        this.#downSince ??= performance.now();
        // Why it cannot be made again may be another reason than why it was lost.
        if (told.has(reason.message) || told.size === MAX_REASONS) return;
        told.add(reason.message);
        log?.error(
          { err: reason },
          `the connection to Redis at ${name} is lost: calls are answered 503 until it is back, and it is tried for ever; look at the Redis server and the network`,
        );
      },
    });
  }

  connect(): Promise<void> {
    return this.#link.connect();
  }

  close(): void {
    this.#link.close();
  }

  primaries(): readonly RedisConnection[] {
    return [this];
  }

  trouble(): string | null {
    return this.#redis === null ? `not connected to Redis at ${this.name}` : null;
  }

  get ready(): boolean {
    return this.#redis !== null;
  }

  /** When it was lost, or when it was first asked for; null while it is there. */
  get downSince(): number | null {
    return this.#downSince;
  }

  /** Begins to connect; `onReady` tells when that has worked. */
  start(): void {
    this.#downSince ??= performance.now();
    this.#link.start();
  }

  /** The server is not, or no longer, the one to talk to: look for it anew. */
  drop(): void {
    this.#redis = null;
    this.#downSince ??= performance.now();
    this.#link.drop();
  }

  async run(
    operation: OperationName,
    key: string,
    args: readonly (string | number)[],
    again: (() => void) | null,
    since = performance.now(),
  ): Promise<unknown> {
    const patience = new Patience(since);
    for (;;) {
      if (this.#redis === null) await this.#whenReady(patience);
      const sent = performance.now();
      try {
        return await this.attempt(operation, key, args);
      } catch (error) {
        const refused = isRefused(error);
        // The server has become a replica: the connection is made anew, to where the primary is.
        if (refused && isReply(error, 'READONLY')) this.drop();
        else if (refused || !isLost(error) || again === null) throw storeError(error);
        if (!patience.mayRepeat(error, sent)) throw storeError(error);
        if (!refused) again?.();
      }
    }
  }

  /**
   * Runs an operation once.
   * @throws what the server or the client says
   */
  async attempt(operation: OperationName, key: string, args: readonly (string | number)[]): Promise<unknown> {
    const redis = this.#connected();
    const sent = performance.now();
    const name = this.#library.functionOf(operation);
    const replication = mayPromise(operation) ? this.replication : null;
    try {
      try {
        if (replication !== null) return await this.#confirmed(redis, replication, operation, key, args);
        this.#holdWrites(redis);
        return await redis.fcall(name, 1, key, ...args);
      } catch (error) {
        // The server does not know the function (it is new, or has lost its functions), so nothing was done.
        if (!isReply(error, NO_FUNCTION)) throw error;
      }
      await this.#load(redis);
      if (replication !== null) return await this.#confirmed(redis, replication, operation, key, args);
      return await redis.fcall(name, 1, key, ...args);
    } catch (error) {
      if (isTimeout(error)) this.#replace(redis, sent);
      throw error;
    }
  }

  /** Answers when what the answer promises is where it has to be. */
  async #confirmed(
    redis: Redis,
    replication: Replication,
    operation: OperationName,
    key: string,
    args: readonly (string | number)[],
  ): Promise<unknown> {
    // Before the writes are held, so that what asks for it is written with them.
    const confirmed = replication.confirm(redis, key);
    confirmed.catch(() => {});
    this.#holdWrites(redis);
    const reply = await redis.fcall(this.#library.functionOf(operation), 1, key, ...args);
    if (promises(operation, reply)) await confirmed;
    return reply;
  }

  async #load(redis: Redis): Promise<void> {
    try {
      await redis.function('LOAD', this.#library.source);
    } catch (error) {
      // Another broker was quicker.
      if (!isReply(error, `ERR Library '${this.#library.name}' already exists`)) throw error;
    }
  }

  /**
   * Deletes the libraries of other versions, where that is allowed. A broker of such a version that still runs loads its own
   * again when it misses it.
   */
  async forgetOtherLibraries(): Promise<void> {
    try {
      const redis = this.#connected();
      const known = await redis.function('LIST', 'LIBRARYNAME', `${LIBRARY_PREFIX}*`);
      for (const name of libraryNames(known)) {
        if (name !== this.#library.name) await redis.function('DELETE', name);
      }
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'ReplyError') throw storeError(error);
    }
  }

  /** Commands of one turn are handed to the operating system in one piece. */
  #holdWrites({ stream }: Redis): void {
    if (this.#held || !stream) return;
    this.#held = true;
    stream.cork();
    queueMicrotask(() => {
      this.#held = false;
      stream.uncork();
    });
  }

  /** Waits for a connection that was lost a moment ago; one that stays away is not waited for. */
  async #whenReady(patience: Patience): Promise<void> {
    while (this.#redis === null) {
      const left = patience.leftOf(this.#downSince ?? performance.now());
      if (left <= 0) throw new StoreError('unavailable', 'Redis: not connected');
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, left);
      await Promise.race([this.#back.promise, promise]);
      clearTimeout(timer);
    }
  }

  /** A connection that leaves a command unanswered may be dead: the next ones go over a new one. */
  #replace(redis: Redis, since: number): void {
    if (this.#redis !== redis) return;
    this.#downSince = since;
    this.drop();
  }

  #connected(): Redis {
    if (this.#redis === null) throw new StoreError('unavailable', `Redis: not connected to ${this.name}`);
    return this.#redis;
  }

  /** What a command that reads answers; one that gets no answer in time tells of a dead connection, as a call does. */
  async #read<Reply>(command: (redis: Redis) => Promise<Reply>): Promise<Reply> {
    const redis = this.#connected();
    const sent = performance.now();
    try {
      return await command(redis);
    } catch (error) {
      if (isTimeout(error)) this.#replace(redis, sent);
      throw error;
    }
  }

  /** The reply to a command that reads. */
  async ask(command: string, ...args: string[]): Promise<unknown> {
    try {
      return await this.#read((redis) => redis.call(command, ...args));
    } catch (error) {
      throw storeError(error);
    }
  }

  /**
   * Some of the keys whose names match a pattern, all of them by the time that `next` is null; one may come twice.
   * @param cursor null at first, and then what the call before said
   * @throws StoreError
   */
  async scan(pattern: string, cursor: string | null): Promise<ScannedKeys> {
    try {
      const [next, keys] = await this.#read((redis) => redis.scan(cursor ?? '0', 'MATCH', pattern, 'COUNT', SCANNED));
      return { keys, next: next === '0' ? null : next };
    } catch (error) {
      throw storeError(error);
    }
  }

  /**
   * What the server says of itself.
   * @param section all that is not costly when left out
   * @throws StoreError
   */
  async info(section = 'default'): Promise<Map<string, string>> {
    try {
      const lines = (await this.#read((redis) => redis.info(section))).split('\r\n');
      return new Map(lines.filter((line) => line.includes(':')).map((line) => splitOnce(line)));
    } catch (error) {
      throw storeError(error);
    }
  }

  /** Settings of the server, or null where reading them is not allowed. */
  async settings<Name extends string>(...names: readonly Name[]): Promise<ReadonlyMap<Name, string> | null> {
    try {
      const reply = await this.#read((redis) => redis.config('GET', ...names));
      const values = Array.isArray(reply) ? reply.map(String) : [];
      return new Map(
        names.flatMap((name): [Name, string][] => {
          const value = values[values.indexOf(name) + 1];
          return values.includes(name) && value !== undefined ? [[name, value]] : [];
        }),
      );
    } catch (error) {
      if (error instanceof Error && error.name === 'ReplyError') return null;
      throw storeError(error);
    }
  }

  /**
   * Whether the server lets this connection wait for replicas.
   * @throws why it does not
   */
  async tryWait(): Promise<void> {
    await this.#connected().wait(0, 1);
  }
}

/** The names in a reply to FUNCTION LIST: per library a flat list of fields and values. */
function libraryNames(reply: unknown): string[] {
  if (!Array.isArray(reply)) return [];
  return reply.flatMap((library: unknown) => {
    const name: unknown = Array.isArray(library) ? library[library.indexOf('library_name') + 1] : undefined;
    return typeof name === 'string' ? [name] : [];
  });
}

function splitOnce(line: string): [string, string] {
  const at = line.indexOf(':');
  return [line.slice(0, at), line.slice(at + 1)];
}
