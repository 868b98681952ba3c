import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { StoreError } from '../store.ts';
import { LIBRARY_PREFIX, type Library, type OperationName } from './library.ts';

/** A command without an answer for this long has failed; its outcome is unknown. */
const COMMAND_TIMEOUT_MS = 1500;
const CONNECT_TIMEOUT_MS = 2000;
/** A lost connection is waited for this long, from its loss. */
const PATIENCE_MS = 1800;
/** A call whose reply was lost is sent this often in all. */
const MAX_ATTEMPTS = 4;
/** Keys that one step of a scan looks at. */
const SCANNED = 500;
const NO_FUNCTION = 'ERR Function not found';
/** Waits between attempts to connect, growing to this. */
const MAX_RECONNECT_MS = 500;

/** A step of a scan. */
export interface ScannedKeys {
  keys: string[];
  /** Where to go on; null at the end. */
  next: string | null;
}

/** A client that tries to connect again for ever, but sends nothing twice and queues nothing. */
export function client(url: string): Redis {
  return new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    enableReadyCheck: true,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (attempt) => Math.min(attempt * 50, MAX_RECONNECT_MS),
    // After a failover a connection may lead to a replica: a new one finds the primary.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
}

/**
 * The one connection for commands. The client queues nothing and sends nothing twice: a call whose reply was lost may
 * have run. What is safe to send again is sent again from here, within a bounded time.
 */
export class RedisConnection {
  readonly #redis: Redis;
  readonly #library: Library;
  /** When the connection was lost, or when the command was sent that got no answer in time. */
  #downSince: number | null = null;
  #held = false;
  #back = Promise.withResolvers<void>();

  constructor(url: string, library: Library, log: Logger | undefined) {
    this.#redis = client(url);
    this.#library = library;
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
        return await this.#send(this.#library.functionOf(operation), key, args);
      } catch (error) {
        if (isTimeout(error)) this.#replace(sent);
        if (again === null || attempt === MAX_ATTEMPTS || !isLost(error)) throw storeError(error);
        again();
      }
    }
  }

  async #send(name: string, key: string, args: readonly (string | number)[]): Promise<unknown> {
    this.#holdWrites();
    try {
      return await this.#redis.fcall(name, 1, key, ...args);
    } catch (error) {
      // The server does not know the function (it is new, or has lost its functions), so nothing was done.
      if (!isReply(error, NO_FUNCTION)) throw error;
      await this.#load();
      return this.#redis.fcall(name, 1, key, ...args);
    }
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
   * Some of the keys whose names match a pattern, all of them by the time that `next` is null; one may come twice.
   * @param cursor null at first, and then what the call before said
   * @throws StoreError
   */
  async scan(pattern: string, cursor: string | null): Promise<ScannedKeys> {
    try {
      const [next, keys] = await this.#redis.scan(cursor ?? '0', 'MATCH', pattern, 'COUNT', SCANNED);
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
      const lines = (await this.#redis.info(section)).split('\r\n');
      return new Map(lines.filter((line) => line.includes(':')).map((line) => splitOnce(line)));
    } catch (error) {
      throw storeError(error);
    }
  }

  /** A setting of the server, or null where reading it is not allowed. */
  async setting(name: string): Promise<string | null> {
    try {
      const reply = await this.#redis.config('GET', name);
      return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : null;
    } catch (error) {
      if (error instanceof Error && error.name === 'ReplyError') return null;
      throw storeError(error);
    }
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
