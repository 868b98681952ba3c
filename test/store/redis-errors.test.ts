import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import pino from 'pino';
import type { JsonText } from '../../src/domain/json-text.ts';
import type { NewTask } from '../../src/domain/task.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const SECRET = 'hush-hush';

describe('errors of the Redis store', () => {
  let server: RedisServer;
  let store: RedisStore;
  let redis: Redis;

  before(async () => {
    server = await startRedis();
    store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 1, durability: 'default' });
    await store.open();
    redis = new Redis(server.url);
  });

  after(async () => {
    redis.disconnect();
    await store.close();
    await server.stop();
  });

  function task(): NewTask {
    return {
      id: store.newTaskId('q'),
      type: null,
      payload: JSON.stringify(SECRET) as JsonText,
      ...{ priority: 4, delayMs: null, runAt: null, ttlMs: null, leaseMs: null, maxAttempts: null, backoff: null },
      ...{ tags: [], metadata: {}, trace: null, unique: null, groupKey: null, retentionMs: null, idempotency: null },
    };
  }

  /** As people and the log see the error of a call that must fail. */
  async function shown(call: () => Promise<unknown>): Promise<string> {
    const lines: string[] = [];
    const log = pino({ level: 'trace' }, { write: (line: string) => lines.push(line) });
    await assert.rejects(call, (error) => {
      log.error({ err: error });
      lines.push(inspect(error, { depth: 12, showHidden: true }));
      return true;
    });
    return lines.join('\n');
  }

  test('name neither payloads nor tokens when a script fails', async () => {
    await redis.set('lessor:{0}:q:q', 'not a hash');
    const enqueued = await shown(() => store.enqueue([{ queue: 'q', tasks: [task()] }]));
    assert.match(enqueued, /WRONGTYPE/);
    assert.ok(!enqueued.includes(SECRET), enqueued);
    const call = { queue: 'q', token: SECRET, max: 1, leaseMs: null, workerId: null, requestId: null };
    assert.ok(!(await shown(() => store.lease([call]))).includes(SECRET));
    await redis.del('lessor:{0}:q:q');
  });

  test('name neither when a reply is not what it should be', async () => {
    await store.enqueue([{ queue: 'q', tasks: [task()] }]);
    const [body = ''] = await redis.keys('lessor:{0}:b:*');
    const text = (await redis.get(body)) ?? '';
    await redis.set(body, text.replace('|ready|', '|unheard of|'));
    const read = await shown(() => store.get([body.slice('lessor:{0}:b:'.length)]));
    assert.ok(!read.includes(SECRET), read);
  });

  test('name neither when Redis is full', async () => {
    await redis.config('SET', 'maxmemory', '1');
    const full = await shown(() => store.enqueue([{ queue: 'full', tasks: [task()] }]));
    await redis.config('SET', 'maxmemory', '0');
    assert.match(full, /full/);
    assert.ok(!full.includes(SECRET), full);
  });
});
