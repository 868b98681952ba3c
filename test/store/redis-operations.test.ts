import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { ackOf, nackOf, realTimeBench } from '../contract/workbench.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const ANY = { type: null, errorCode: null, diedBefore: null };
const TASKS = 6;

describe('an operation that two processes know of', () => {
  let server: RedisServer;
  let here: RedisStore;
  let there: RedisStore;
  before(async () => {
    server = await startRedis();
    [here, there] = [0, 1].map(
      () => new RedisStore({ url: server.url, prefix: 'lessor', shards: 4, durability: 'default' }),
    ) as [RedisStore, RedisStore];
    await Promise.all([here.open(), there.open()]);
  });
  after(async () => {
    await Promise.all([here.close(), there.close()]);
    await server.stop();
  });

  it('is left to the one that took the last step, until that has not come back for a while', async () => {
    const bench = realTimeBench(here);
    await bench.putAll(Array.from({ length: TASKS }, () => ({})));
    for (const { task, token } of await bench.lease({ max: TASKS })) {
      await bench.settle(nackOf({ id: task.id, token }, { retryable: false }));
    }
    const id = here.newTaskId('q');
    await here.createOperations([{ id, queue: 'q', to: null, filter: ANY, max: null, ratePerSec: null }]);
    const step = async (store: RedisStore): Promise<{ moved: number; nextAt: number | null; now: number }> => {
      const { now, results } = await store.stepOperations([{ id, limit: 1, ids: [] }]);
      const [stepped] = results;
      return { now, moved: stepped?.operation.moved ?? -1, nextAt: stepped?.nextAt ?? null };
    };
    assert.equal((await step(here)).moved, 1);
    const held = await step(there);
    assert.equal(held.moved, 1);
    assert.ok(held.nextAt !== null && held.nextAt > held.now, 'it says when to try again');
    assert.equal((await step(here)).moved, 2);
    await until(async () => (await step(there)).moved === 3, { what: 'the other one goes on' });
    assert.equal((await step(here)).moved, 3);
    await until(async () => (await step(there)).nextAt === null, { what: 'the end' });
    const granted = await bench.lease({ max: 100 });
    assert.equal(new Set(granted.map(({ task }) => task.id)).size, TASKS);
    assert.equal(granted.length, TASKS);
    await bench.store.settle(granted.map(({ task, token }) => ackOf({ id: task.id, token })));
  });
});
