import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { plainTask } from '../support/plain-task.ts';
import { admin } from '../support/redis-admin.ts';
import { startRedis } from '../support/redis-server.ts';

/** What a client is promised to hear of a store that stands still. */
const DEADLINE_MS = 5000;

test('a call ends in time although the server lets every new connection in and answers no write', async () => {
  const server = await startRedis();
  const store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 1, durability: 'default' });
  await store.open();
  await admin(server.port, (redis) => redis.call('CLIENT', 'PAUSE', 60_000, 'WRITE'));
  const begun = performance.now();
  const calls = Array.from({ length: 10 }, () =>
    store.enqueue([{ queue: 'q', tasks: [plainTask(store.newTaskId('q'))] }]),
  );
  for (const outcome of await Promise.allSettled(calls)) {
    assert.ok(outcome.status === 'rejected' && outcome.reason instanceof StoreError);
    assert.equal(outcome.reason.kind, 'unavailable');
  }
  const took = performance.now() - begun;
  assert.ok(took < DEADLINE_MS, `they took ${Math.round(took)} ms`);
  await store.close();
  await server.stop();
});
