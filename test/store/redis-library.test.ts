import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Redis } from 'ioredis';
import { loadLibrary } from '../../src/store/redis/library.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const ELSEWHERE = `#!lua name=elsewhere
redis.register_function('elsewhere', function() return 1 end)
`;

describe('the library of functions in Redis', () => {
  let server: RedisServer;
  let redis: Redis;

  before(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
  });

  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  async function openStore(clockInclude?: string): Promise<RedisStore> {
    const clock = clockInclude === undefined ? {} : { clockInclude };
    const store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 2, durability: 'default', ...clock });
    await store.open();
    return store;
  }

  async function libraries(): Promise<string[]> {
    const replies = (await redis.function('LIST')) as string[][];
    return replies.map((fields) => fields[fields.indexOf('library_name') + 1] ?? '').sort();
  }

  test('is loaded again by the call that misses it', async () => {
    const store = await openStore();
    try {
      await redis.function('FLUSH');
      await store.check();
      assert.deepEqual(await libraries(), [loadLibrary().name]);
      await redis.function('FLUSH');
      await Promise.all([store.check(), store.queues({ after: null, limit: 10 }), store.get(['0'])]);
      assert.deepEqual(await libraries(), [loadLibrary().name]);
    } finally {
      await store.close();
    }
  });

  test('of another version is deleted when a broker starts, and loaded again by those that still use it', async () => {
    await redis.function('LOAD', ELSEWHERE);
    const clock = 'local function clock() return 1800000000000 end';
    const old = await openStore(clock);
    const store = await openStore();
    try {
      assert.deepEqual(await libraries(), ['elsewhere', loadLibrary().name]);
      await old.check();
      await store.check();
      assert.deepEqual(await libraries(), ['elsewhere', loadLibrary(clock).name, loadLibrary().name].sort());
    } finally {
      await old.close();
      await store.close();
    }
  });
});
