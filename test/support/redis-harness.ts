import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import type { Finding } from '../../src/store/census.ts';
import { RedisCensus } from '../../src/store/redis/census.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type RedisServer, type RedisServerOptions, startRedis } from './redis-server.ts';
import { CLOCK_START, type OpenStore, type StoreHarness } from './store-harness.ts';

/** Few, so that moving every shard's clock is cheap; more than one, so that queues do live apart. */
const SHARDS = 4;

/** Reads the time from a key of the shard, which the test writes, instead of from TIME. */
export const CLOCK_INCLUDE = `local function clock(base)
  return tonumber(redis.call('GET', base .. ':test-clock'))
end
`;

/** Redis stores on one server of the harness's own, which the first `open` starts; each has a prefix of its own. */
export function redisHarness(options: RedisServerOptions = {}): StoreHarness {
  let starting: Promise<{ server: RedisServer; clocks: Redis }> | null = null;
  const started = async (): Promise<{ server: RedisServer; clocks: Redis }> => {
    const server = await startRedis(options);
    return { server, clocks: new Redis(server.url) };
  };
  return {
    name: options.appendonly ? 'redis with AOF' : 'redis',
    async open(): Promise<OpenStore> {
      starting ??= started();
      const { server, clocks } = await starting;
      const prefix = `test-${randomBytes(6).toString('hex')}`;
      let time = CLOCK_START;
      const setClocks = async (): Promise<void> => {
        const pipeline = clocks.pipeline();
        for (let shard = 0; shard < SHARDS; shard++) pipeline.set(`${prefix}:{${shard}}:test-clock`, time);
        await pipeline.exec();
      };
      await setClocks();
      const make = async (): Promise<RedisStore> => {
        const store = new RedisStore({
          url: server.url,
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
          await setClocks();
        },
        async reopen() {
          await store.close();
          store = await make();
        },
        async stored() {
          const names: string[] = [];
          for (const key of await clocks.keys(`${prefix}:*`)) {
            const name = key.slice(`${prefix}:{0}:`.length);
            const ofQueues = /^(q:|queues$|meta$|test-clock$)/.test(name);
            // Idempotency keys and what names a lease call expire by the server's own time.
            if (!ofQueues && (await clocks.pttl(key)) === -1) names.push(name);
          }
          return names.sort();
        },
        async findings(mend = false) {
          const census = new RedisCensus({ url: server.url, prefix, clockInclude: CLOCK_INCLUDE });
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
      if (!starting) return;
      const { server, clocks } = await starting;
      clocks.disconnect();
      await server.stop();
    },
  };
}
