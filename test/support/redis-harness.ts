import { randomBytes } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import { aclRules } from '../../src/store/redis/acl.ts';
import type { Finding } from '../../src/store/census.ts';
import { RedisCensus } from '../../src/store/redis/census.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { startCluster } from './redis-cluster.ts';
import { startSentinel } from './redis-sentinel.ts';
import { type RedisServerOptions, startRedis } from './redis-server.ts';
import { CLOCK_START, type OpenStore, type StoreHarness } from './store-harness.ts';

/** Few, so that moving every shard's clock is cheap; more than one, so that queues do live apart. */
const SHARDS = 4;

/** Reads the time from a key of the shard, which the test writes, instead of from TIME. */
export const CLOCK_INCLUDE = `local function clock(base)
  return tonumber(redis.call('GET', base .. ':test-clock'))
end
`;

/** Servers that run, and a client of the test's own. */
interface Home {
  /** What a store with this prefix is opened with. */
  urlFor(prefix: string): Promise<string>;
  /** Writes each of these keys. */
  set(keys: readonly string[], value: number): Promise<void>;
  /** Keys that begin like this, but for those that expire. */
  lasting(prefix: string): Promise<string[]>;
  stop(): Promise<void>;
}

export interface RedisHarnessOptions extends RedisServerOptions {
  /** Whether each store is a user of its own, which may do no more than it needs. */
  limited?: boolean;
}

/** Redis stores on one server of the harness's own, which the first `open` starts; each has a prefix of its own. */
export function redisHarness({ limited = false, ...options }: RedisHarnessOptions = {}): StoreHarness {
  const name = `redis${options.appendonly ? ' with AOF' : ''}${limited ? ', as a user with few rights' : ''}`;
  return harness(name, async () => {
    const server = await startRedis(options);
    const clocks = new Redis(server.url);
    const home = homeOf(server.url, clocks, () => [clocks], server);
    if (!limited) return home;
    const urlFor = async (prefix: string): Promise<string> => {
      await clocks.acl('SETUSER', prefix, 'on', '>secret', ...aclRules(prefix));
      return server.url.replace('redis://', `redis://${prefix}:secret@`);
    };
    return { ...home, urlFor };
  });
}

/** Redis stores behind three Sentinels. */
export function sentinelHarness(): StoreHarness {
  return harness('redis behind Sentinels', async () => {
    const sentinel = await startSentinel({ downAfterMs: 15_000 });
    const clocks = new Redis({ port: (await sentinel.primary()).port, host: '127.0.0.1' });
    return homeOf(sentinel.url, clocks, () => [clocks], sentinel);
  });
}

/** Redis stores on a cluster of three primaries. */
export function clusterHarness(): StoreHarness {
  return harness('a Redis cluster', async () => {
    const cluster = await startCluster({ nodeTimeoutMs: 15_000 });
    const clocks = new Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    return homeOf(cluster.url, clocks, () => clocks.nodes('master'), cluster);
  });
}

function homeOf(
  url: string,
  client: Redis | Cluster,
  primaries: () => Redis[],
  servers: { stop(): Promise<void> },
): Home {
  return {
    urlFor: async () => url,
    async set(keys, value) {
      await Promise.all(keys.map((key) => client.set(key, value)));
    },
    async lasting(prefix) {
      const keys = (await Promise.all(primaries().map((primary) => primary.keys(`${prefix}*`)))).flat();
      const left = await Promise.all(keys.map((key) => client.pttl(key)));
      return keys.filter((_, at) => left[at] === -1);
    },
    async stop() {
      client.disconnect();
      await servers.stop();
    },
  };
}

function harness(name: string, start: () => Promise<Home>): StoreHarness {
  let starting: Promise<Home> | null = null;
  return {
    name,
    async open(): Promise<OpenStore> {
      starting ??= start();
      const home = await starting;
      const prefix = `test-${randomBytes(6).toString('hex')}`;
      const clockKeys = Array.from({ length: SHARDS }, (_, shard) => `${prefix}:{${shard}}:test-clock`);
      const url = await home.urlFor(prefix);
      let time = CLOCK_START;
      await home.set(clockKeys, time);
      const make = async (): Promise<RedisStore> => {
        const store = new RedisStore({
          url,
          prefix,
          shards: SHARDS,
          durability: 'default',
          clockInclude: CLOCK_INCLUDE,
        });
        await store.open();
        return store;
      };
      let store = await make();
      return {
        get store() {
          return store;
        },
        now: () => time,
        async advance(ms) {
          time += ms;
          await home.set(clockKeys, time);
        },
        async reopen() {
          await store.close();
          store = await make();
        },
        async stored() {
          const names = (await home.lasting(`${prefix}:`)).map((key) => key.slice(`${prefix}:{0}:`.length));
          // Idempotency keys and what names a lease call expire by the server's own time.
          return names.filter((key) => !/^(q:|queues$|meta$|test-clock$)/.test(key)).sort();
        },
        async findings(mend = false) {
          const census = new RedisCensus({ url, prefix, clockInclude: CLOCK_INCLUDE });
          await census.open();
          const found: Finding[] = [];
          await census.take({ mend, found: (finding) => found.push(finding) });
          await census.close();
          return found;
        },
        close: () => store.close(),
      };
    },
    async stop() {
      if (starting) await (await starting).stop();
    },
  };
}
