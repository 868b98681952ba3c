import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import type { LeaseCall } from '../../src/store/store.ts';
import { StoreError } from '../../src/store/store.ts';
import { plainTask } from '../support/plain-task.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTcpLink } from '../support/tcp-link.ts';
import { until } from '../support/until.ts';

/** What a client is promised to hear of a store that stands still. */
const DEADLINE_MS = 5000;
/** More lease calls than one call to Redis takes, twice over. */
const MANY = 300;

describe('while the server lets every new connection in and answers no write', () => {
  let server: RedisServer;
  let store: RedisStore;

  beforeEach(async () => {
    server = await startRedis();
    store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 1, durability: 'default' });
    await store.open();
  });

  afterEach(async () => {
    await store.close();
    await server.stop();
  });

  const pause = (ms: number): Promise<unknown> =>
    admin(server.port, (redis) => redis.call('CLIENT', 'PAUSE', ms, 'WRITE'));

  const leaseCall = (queue: string, token: string): LeaseCall => ({
    ...{ queue, token, max: 1, leaseMs: null, workerId: null, requestId: null },
  });
  const lease = (queue: string): Promise<unknown> => store.lease([leaseCall(queue, `of ${queue}`)]);

  /** Each call is told that the store is away, in the time that is promised. */
  async function assertTold(calls: readonly Promise<unknown>[]): Promise<void> {
    const begun = performance.now();
    const tooks = await Promise.all(
      calls.map((call) =>
        call.then(
          () => assert.fail('it was answered'),
          (error: unknown) => {
            assert.ok(error instanceof StoreError, String(error));
            assert.equal(error.kind, 'unavailable');
            return performance.now() - begun;
          },
        ),
      ),
    );
    const longest = Math.max(...tooks);
    assert.ok(longest < DEADLINE_MS, `one took ${Math.round(longest)} ms`);
  }

  /** Resolves when the first of these has been sent, so that what comes now waits for it. */
  async function underWay(): Promise<void> {
    const blocked = async (): Promise<boolean> =>
      /blocked_clients:[1-9]/.test(await admin(server.port, (redis) => redis.info('clients')));
    await until(blocked, { what: 'the server holds a call back' });
  }

  test('a call ends in time', async () => {
    await pause(60_000);
    await assertTold(
      Array.from({ length: 10 }, () => store.enqueue([{ queue: 'q', tasks: [plainTask(store.newTaskId('q'))] }])),
    );
  });

  test('so does a call that waits for another one, whatever it asks for', async () => {
    await pause(60_000);
    const enqueue = (): Promise<unknown> => store.enqueue([{ queue: 'q', tasks: [plainTask(store.newTaskId('q'))] }]);
    const cancel = (): Promise<unknown> => store.cancel([{ id: store.newTaskId('q'), reason: null, force: false }]);
    const first = [enqueue(), cancel()];
    await underWay();
    await assertTold([...first, ...Array.from({ length: MANY }, enqueue), ...Array.from({ length: MANY }, cancel)]);
  });

  test('so does a lease call that waits for another one of its shard, however many do', async () => {
    await pause(60_000);
    const first = lease('first');
    await underWay();
    await assertTold([first, ...Array.from({ length: MANY }, (_, number) => lease(`q${number}`))]);
  });

  test('so does one that first has to give back what a lost call was granted', async (t) => {
    let losing = false;
    const link = await startTcpLink(server.port, () => losing);
    const url = `redis://127.0.0.1:${link.port}`;
    const far = new RedisStore({ url, prefix: 'lessor', shards: 1, durability: 'default' });
    t.after(async () => {
      await far.close();
      await link.stop();
    });
    await far.open();
    const ids = [store.newTaskId('q'), store.newTaskId('q')];
    await store.enqueue([{ queue: 'q', tasks: ids.map((id) => plainTask(id)) }]);
    await store.lease([leaseCall('other', 'loads the library')]);
    const states = async (): Promise<(string | undefined)[]> =>
      (await store.get(ids)).results.map((task) => task?.state);
    losing = true;
    await assert.rejects(far.lease([leaseCall('q', 'lost')]));
    assert.deepEqual(await states(), ['leased', 'ready']);
    await pause(60_000);
    losing = false;
    const connected = (): Promise<boolean> =>
      far.get(ids).then(
        () => true,
        () => false,
      );
    await until(connected, { what: 'the connection is back, and reads are answered' });
    await assertTold(Array.from({ length: MANY }, () => far.lease([leaseCall('q', 'waits')])));
    await admin(server.port, (redis) => redis.call('CLIENT', 'UNPAUSE'));
    const back = async (): Promise<boolean> => (await states()).every((state) => state === 'ready');
    await until(back, { what: 'whatever was granted is given back' });
  });

  test('lease calls that wait are answered when it was only for a moment', async () => {
    await pause(60_000);
    const first = lease('first');
    await underWay();
    const others = Array.from({ length: MANY }, (_, number) => lease(`q${number}`));
    await admin(server.port, (redis) => redis.call('CLIENT', 'UNPAUSE'));
    await Promise.all([first, ...others]);
  });
});
