import { Redis } from 'ioredis';
import type { Finding } from '../../src/store/census.ts';
import { RedisCensus } from '../../src/store/redis/census.ts';
import { loadLibrary, type OperationName } from '../../src/store/redis/library.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { CLOCK_INCLUDE } from '../support/redis-harness.ts';
import { CLOCK_START } from '../support/store-harness.ts';
import { Workbench } from '../contract/workbench.ts';

/** A store on Redis that a test breaks by hand: one shard, so that all its keys begin alike. */
export class BrokenRedis {
  readonly redis: Redis;
  readonly bench: Workbench;
  readonly #store: RedisStore;
  readonly #url: string;
  readonly #prefix: string;
  #time = CLOCK_START;

  private constructor(url: string, prefix: string, store: RedisStore, redis: Redis) {
    this.#url = url;
    this.#prefix = prefix;
    this.#store = store;
    this.redis = redis;
    const refuse = (): Promise<never> => Promise.reject(new Error('not for this test'));
    this.bench = new Workbench({
      ...{ store, now: () => this.#time, advance: (ms) => this.#advance(ms) },
      ...{ stored: refuse, reopen: refuse, findings: () => this.findings(false), close: refuse },
    });
  }

  static async open(url: string, prefix: string): Promise<BrokenRedis> {
    const redis = new Redis(url);
    await redis.set(`${prefix}:{0}:test-clock`, CLOCK_START);
    const store = new RedisStore({ url, prefix, shards: 1, durability: 'default', clockInclude: CLOCK_INCLUDE });
    await store.open();
    return new BrokenRedis(url, prefix, store, redis);
  }

  static #stores = 0;

  /** A store of its own on a server that holds nothing else of worth, but for a key of others. */
  static async use(url: string, run: (broken: BrokenRedis) => Promise<void>): Promise<void> {
    const broken = await BrokenRedis.open(url, `broken${++BrokenRedis.#stores}`);
    try {
      await broken.redis.set('lessor:{0}:b:of-others', 'what others keep');
      await run(broken);
    } finally {
      await broken.redis.flushall();
      await broken.close();
    }
  }

  async #advance(ms: number): Promise<void> {
    this.#time += ms;
    await this.redis.set(this.key('test-clock'), this.#time);
  }

  /** A key of the shard. */
  readonly key = (name: string): string => `${this.#prefix}:{0}:${name}`;

  /** The one key of the shard whose name begins so. */
  readonly find = async (start: string): Promise<string> => {
    const [key, ...more] = await this.redis.keys(this.key(`${start}*`));
    if (key === undefined || more.length > 0)
      throw new Error(`${more.length + (key ? 1 : 0)} keys begin with ${start}`);
    return key;
  };

  /** Runs one operation of the library, as a process does that is gone before its next one. */
  readonly run = async (operation: OperationName, ...args: (string | number)[]): Promise<unknown> => {
    const name = loadLibrary(CLOCK_INCLUDE).functionOf(operation);
    return this.redis.fcall(name, 1, this.key('').slice(0, -1), ...args, 'gone');
  };

  async findings(mend: boolean): Promise<Finding[]> {
    const census = new RedisCensus({ url: this.#url, prefix: this.#prefix, clockInclude: CLOCK_INCLUDE });
    await census.open();
    try {
      const found: Finding[] = [];
      await census.take({ mend, found: (finding) => found.push(finding) });
      return found;
    } finally {
      await census.close();
    }
  }

  /** All that is on the server, whoever's it is. */
  async everything(): Promise<Record<string, unknown>> {
    const names = (await this.redis.keys('*')).sort();
    return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await this.#content(name)])));
  }

  async #content(name: string): Promise<unknown> {
    switch (await this.redis.type(name)) {
      case 'hash':
        return this.redis.hgetall(name);
      case 'list':
        return this.redis.lrange(name, 0, -1);
      case 'zset':
        return this.redis.zrange(name, '0', '-1', 'WITHSCORES');
      default:
        return this.redis.get(name);
    }
  }

  async close(): Promise<void> {
    await this.#store.close();
    this.redis.disconnect();
  }
}
