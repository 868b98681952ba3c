import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { StoreError } from '../store.ts';
import { LIBRARY_PREFIX, type Library, type OperationName } from './library.ts';
import { mayPromise, promises } from './promised.ts';
import { Replication } from './replication.ts';
import { type TlsMaterial, tlsOptions } from './tls.ts';

/** A command without an answer for this long has failed; its outcome is unknown. */
const COMMAND_TIMEOUT_MS = 1500;
const CONNECT_TIMEOUT_MS = 2000;
/** A lost connection is waited for this long, from its loss. */
const PATIENCE_MS = 1800;
/** A call whose reply was lost is sent this often in all. */
const MAX_ATTEMPTS = 4;
const NO_FUNCTION = 'ERR Function not found';
/** Waits between attempts to connect, growing to this. */
const MAX_RECONNECT_MS = 500;

/** A client that tries to connect again for ever, but sends nothing twice and queues nothing. */
export function client(url: string, tls: TlsMaterial = {}): Redis {
  return new Redis(url, {
    ...(/^rediss:/i.test(url) ? { tls: tlsOptions(tls) } : {}),
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // One command less that a user with few rights would need.
    disableClientInfo: true,
    enableReadyCheck: true,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (attempt) => Math.min(attempt * 50, MAX_RECONNECT_MS),
    // After a failover a connection may lead to a replica: a new one finds the primary.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
}

export interface RedisConnectionOptions {
  url: string;
  tls?: TlsMaterial;
  library: Library;
  log: Logger | undefined;
  /** How many must hold what is promised before it is. */
  replicas: number;
  /** There is a connection, the first or another. */
  onReady: () => void;
}

/**
 * The one connection for commands. The client queues nothing and sends nothing twice: a call whose reply was lost may
 * have run. What is safe to send again is sent again from here, within a bounded time.
 */
export class RedisConnection {
  readonly #redis: Redis;
  readonly #library: Library;
  /** Null where answers are given as soon as the server has them. */
  readonly replication: Replication | null;
  /** When the connection was lost, or when the command was sent that got no answer in time. */
  #downSince: number | null = null;
  #held = false;
  #back = Promise.withResolvers<void>();

  constructor({ url, tls, library, log, replicas, onReady }: RedisConnectionOptions) {
    this.#redis = client(url, tls);
    this.#library = library;
    const mark = (redis: Redis, key: string): Promise<unknown> =>
      redis.fcall(library.functionOf('confirm'), 1, key, '');
    this.replication = replicas > 0 ? new Replication({ replicas, mark }) : null;
    let told = false;
    this.#redis.on('error', (error: Error) => {
      if (told) return;
      told = true;
      log?.error(
        { err: error },
        'the connection to Redis is lost: calls are answered 503 until it is back; look at the Redis server and the network',
      );
    });
    this.#redis.on('close', () => {
      this.#downSince ??= performance.now();
    });
    this.#redis.on('ready', () => {
      if (told) log?.info('the connection to Redis is back');
      told = false;
      this.#downSince = null;
      this.#back.resolve();
      this.#back = Promise.withResolvers();
      onReady();
    });
  }

  /** @throws why Redis cannot be reached or does not let us in */
  async connect(): Promise<void> {
    // The client's own rejection only says "Connection is closed"; the reason is in the event before it.
    const reasons: Error[] = [];
    const hear = (error: Error): unknown => reasons.push(error);
    this.#redis.on('error', hear);
    try {
      await this.#redis.connect();
    } catch (error) {
      throw reasons[0] ?? error;
    } finally {
      this.#redis.off('error', hear);
    }
    // A database that cannot be selected is no reason for the client to give up: it would go on with number 0.
    if (reasons[0] !== undefined) throw reasons[0];
  }

  close(): void {
    this.#redis.disconnect();
  }

  /**
   * Runs an operation on the keys that begin with `key`.
   * @param again told before it is sent once more because its reply was lost; null when that is not safe
   * @throws StoreError
   */
  async run(
    operation: OperationName,
    key: string,
    args: readonly (string | number)[],
    again: (() => void) | null,
  ): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      if (this.#redis.status !== 'ready') await this.#whenReady();
      const sent = performance.now();
      try {
        return await this.#send(operation, key, args);
      } catch (error) {
        if (isTimeout(error)) this.#replace(sent);
        if (again === null || attempt === MAX_ATTEMPTS || !isLost(error)) throw storeError(error);
        again();
      }
    }
  }

  async #send(operation: OperationName, key: string, args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.#callConfirmed(operation, key, args);
    } catch (error) {
      // The server does not know the function (it is new, or has lost its functions), so nothing was done.
      if (!isReply(error, NO_FUNCTION)) throw error;
      await this.#load();
      return this.#callConfirmed(operation, key, args);
    }
  }

  /** Answers when what the answer promises is where it has to be. */
  async #callConfirmed(operation: OperationName, key: string, args: readonly (string | number)[]): Promise<unknown> {
    const replication = mayPromise(operation) ? this.replication : null;
    if (replication === null) {
      this.#holdWrites();
      return this.#redis.fcall(this.#library.functionOf(operation), 1, key, ...args);
    }
    // Before the writes are held, so that what asks for it is written with them.
    const confirmed = replication.confirm(this.#redis, key);
    confirmed.catch(() => {});
    this.#holdWrites();
    const reply = await this.#redis.fcall(this.#library.functionOf(operation), 1, key, ...args);
    if (promises(operation, reply)) await confirmed;
    return reply;
  }

  async #load(): Promise<void> {
    try {
      await this.#redis.function('LOAD', this.#library.source);
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
      const known = await this.#redis.function('LIST', 'LIBRARYNAME', `${LIBRARY_PREFIX}*`);
      for (const name of libraryNames(known)) {
        if (name !== this.#library.name) await this.#redis.function('DELETE', name);
      }
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'ReplyError') throw storeError(error);
    }
  }

  /** Commands of one turn are handed to the operating system in one piece. */
  #holdWrites(): void {
    const { stream } = this.#redis;
    if (this.#held || !stream) return;
    this.#held = true;
    stream.cork();
    queueMicrotask(() => {
      this.#held = false;
      stream.uncork();
    });
  }

  /** Waits for a connection that was lost a moment ago; one that stays away is not waited for. */
  async #whenReady(): Promise<void> {
    while (this.#redis.status !== 'ready') {
      const left = (this.#downSince ?? performance.now()) + PATIENCE_MS - performance.now();
      if (left <= 0) throw new StoreError('unavailable', 'Redis: not connected');
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, left);
      await Promise.race([this.#back.promise, promise]);
      clearTimeout(timer);
    }
  }

  /** A connection that leaves a command unanswered may be dead: the next ones go over a new one. */
  #replace(since: number): void {
    if (this.#redis.status !== 'ready') return;
    this.#downSince = since;
    this.#redis.disconnect(true);
  }

  /**
   * What the server says of itself.
   * @param section all that is not costly when left out
   * @throws StoreError
   */
  async info(section = 'default'): Promise<Map<string, string>> {
    try {
      const lines = (await this.#redis.info(section)).split('\r\n');
      return new Map(lines.filter((line) => line.includes(':')).map((line) => splitOnce(line)));
    } catch (error) {
      throw storeError(error);
    }
  }

  /** Settings of the server, or null where reading them is not allowed. */
  async settings<Name extends string>(...names: readonly Name[]): Promise<ReadonlyMap<Name, string> | null> {
    try {
      const reply = await this.#redis.config('GET', ...names);
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
    await this.#redis.wait(0, 1);
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

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Command timed out';
}

/** The connection broke before the reply came, or led to a server that must not write. */
function isLost(error: unknown): boolean {
  if (error instanceof StoreError) return false;
  return error instanceof Error && (error.name !== 'ReplyError' || error.message.startsWith('READONLY'));
}

function isReply(error: unknown, prefix: string): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith(prefix);
}

/** Replies that tell of a server that cannot serve right now, as opposed to a fault of an operation. */
const UNAVAILABLE =
  /^(READONLY|LOADING|MISCONF|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOREPLICAS|NOAUTH|NOPERM|WRONGPASS|UNBLOCKED)\b/;

/** The client's error without the command it belongs to, whose arguments are payloads and tokens. */
function withoutCommand(error: Error): Error {
  const bare = new Error(error.message);
  bare.name = error.name;
  if (error.stack !== undefined) bare.stack = error.stack;
  return bare;
}

function storeError(error: unknown): Error {
  if (error instanceof StoreError) return error;
  if (!(error instanceof Error)) return new StoreError('unavailable', String(error));
  const cause = withoutCommand(error);
  if (error.name !== 'ReplyError') return new StoreError('unavailable', `Redis: ${error.message}`, { cause });
  if (error.message.startsWith('OOM')) {
    return new StoreError('full', 'Redis is at its maxmemory: free memory or raise the limit', { cause });
  }
  if (UNAVAILABLE.test(error.message)) return new StoreError('unavailable', `Redis: ${error.message}`, { cause });
  return cause;
}
