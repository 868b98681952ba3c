import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Grant } from '../../src/domain/task.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { held, realTimeBench, type Workbench } from '../contract/workbench.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

/** By the clock of Redis, by which what it keeps for a while goes. */
describe('what a named lease call was granted, when its leases ran out and Redis has forgotten the call', () => {
  let server: RedisServer;
  let store: RedisStore;
  let bench: Workbench;
  before(async () => {
    server = await startRedis();
    store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 1, durability: 'default' });
    await store.open();
    bench = realTimeBench(store);
  });
  after(async () => {
    await store.close();
    await server.stop();
  });

  /** Leases two tasks under the name, and waits until that is forgotten. */
  async function forgotten(queue: string): Promise<readonly Grant[]> {
    await bench.putAll([{}, {}, {}], queue);
    const grants = await bench.lease({ requestId: 'r', max: 2, leaseMs: 50 }, queue);
    assert.equal(grants.length, 2);
    const records = (): Promise<string[]> => admin(server.port, (redis) => redis.keys(`*:r:${queue}:*`));
    await until(async () => (await records()).length === 0, { what: 'the call is forgotten' });
    return grants;
  }

  const ids = (grants: readonly Grant[]): string[] => grants.map(({ task, token }) => `${task.id} ${token}`);

  test('is found again as far as workers have revived it', async () => {
    const grants = await forgotten('revived');
    assert.deepEqual(await bench.recall('r', 'revived'), []);
    // The later one first: they are told in the order of their grants all the same.
    for (const left of [1, 0]) {
      const [grant] = grants.slice(left);
      assert.ok(grant);
      const outcome = await bench.heartbeat(held(grant), { leaseMs: 30_000 });
      assert.equal(outcome.outcome === 'settled' && outcome.late, true);
      assert.deepEqual(ids(await bench.recall('r', 'revived')), ids(grants.slice(left)));
    }
    assert.deepEqual(ids(await bench.lease({ requestId: 'r', max: 2 }, 'revived')), ids(grants));
  });

  test('does not take the place of what a later call of the name was granted', async () => {
    const [first, second] = await forgotten('later');
    assert.ok(first && second);
    const later = await bench.lease({ requestId: 'r' }, 'later');
    for (const grant of [first, second]) await bench.heartbeat(held(grant), { leaseMs: 30_000 });
    assert.deepEqual(ids(await bench.recall('r', 'later')), ids(later));
  });

  test('gives way to a lease of a later call that is revived too', async () => {
    const [first] = await forgotten('both');
    assert.ok(first);
    const [later] = await bench.lease({ requestId: 'r', leaseMs: 50 }, 'both');
    assert.ok(later);
    const records = (): Promise<string[]> => admin(server.port, (redis) => redis.keys('*:r:both:*'));
    await until(async () => (await records()).length === 0, { what: 'the later call is forgotten' });
    for (const grant of [first, later]) await bench.heartbeat(held(grant), { leaseMs: 30_000 });
    assert.deepEqual(ids(await bench.recall('r', 'both')), ids([later]));
    await bench.heartbeat(held(first), { leaseMs: 30_000 });
    assert.deepEqual(ids(await bench.recall('r', 'both')), ids([later]));
  });
});
