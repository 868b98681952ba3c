import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { StoreError } from '../store.ts';
import type { Script } from './scripts.ts';

/** A command without an answer for this long has failed; its outcome is unknown. */
const COMMAND_TIMEOUT_MS = 1500;
const CONNECT_TIMEOUT_MS = 2000;
/** Waits between attempts to connect, growing to this. */
const MAX_RECONNECT_MS = 500;

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
 * The one connection for commands. Nothing is queued while it is down and nothing is ever sent twice by the client: a
 * script whose reply was lost may have run.
 */
export class RedisConnection {
  readonly #redis: Redis;

  constructor(url: string, log: Logger | undefined) {
    this.#redis = client(url);
    let down = false;
    this.#redis.on('error', (error: Error) => {
      if (down) return;
      down = true;
      log?.error(
        { err: error },
        'the connection to Redis is lost: calls are answered 503 until it is back; look at the Redis server and the network',
      );
    });
    this.#redis.on('ready', () => {
      if (down) log?.info('the connection to Redis is back');
      down = false;
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

  /** @throws StoreError */
  async run(script: Script, key: string, args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.#redis.evalsha(script.sha1, 1, key, ...args);
    } catch (error) {
      // The server has forgotten the script (a restart, SCRIPT FLUSH), so it has not run.
      if (isReply(error, 'NOSCRIPT')) {
        try {
          return await this.#redis.eval(script.source, 1, key, ...args);
        } catch (second) {
          throw storeError(second);
        }
      }
      throw storeError(error);
    }
  }

  /** @throws StoreError */
  async info(): Promise<Map<string, string>> {
    try {
      const lines = (await this.#redis.info()).split('\r\n');
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

function splitOnce(line: string): [string, string] {
  const at = line.indexOf(':');
  return [line.slice(0, at), line.slice(at + 1)];
}

function isReply(error: unknown, prefix: string): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith(prefix);
}

/** Replies that tell of a server that cannot serve right now, as opposed to a fault of a script. */
const UNAVAILABLE =
  /^(READONLY|LOADING|MISCONF|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOREPLICAS|NOAUTH|NOPERM|WRONGPASS|UNBLOCKED)\b/;

function storeError(error: unknown): Error {
  if (!(error instanceof Error)) return new StoreError('unavailable', String(error));
  if (error.name !== 'ReplyError') return new StoreError('unavailable', `Redis: ${error.message}`, { cause: error });
  if (error.message.startsWith('OOM')) {
    return new StoreError('full', 'Redis is at its maxmemory: free memory or raise the limit', { cause: error });
  }
  if (UNAVAILABLE.test(error.message))
    return new StoreError('unavailable', `Redis: ${error.message}`, { cause: error });
  return error;
}
