import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { JsonText } from '../../src/domain/json-text.ts';
import type { NewTask } from '../../src/domain/task.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import type { LeaseCall, QueueRecord } from '../../src/store/store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTcpLink, type TcpLink } from '../support/tcp-link.ts';
import { until } from '../support/until.ts';

describe('what a lease call was granted whose reply never came', () => {
  let server: RedisServer;
  let proxy: TcpLink;
  /** Loses every reply while `losing`. */
  let store: RedisStore;
  let direct: RedisStore;
  let losing = false;
  let queue = '';
  let queues = 0;

  before(async () => {
    server = await startRedis();
    proxy = await startTcpLink(server.port, () => losing);
    [store, direct] = await Promise.all([open(proxy.port), open(server.port)]);
    // From now on Redis knows the script: it runs when it is sent for the first time.
    await direct.lease([leaseCall('', null)]);
  });

  after(async () => {
    losing = false;
    for (const opened of [store, direct]) await opened.close();
    await proxy.stop();
    await server.stop();
  });

  beforeEach(async () => {
    queue = `q${queues++}`;
    await direct.enqueue([{ queue, tasks: ['0', '1'].map(task) }]);
    const connected = (): Promise<boolean> =>
      store.check().then(
        () => true,
        () => false,
      );
    await until(connected, { what: 'the connection is back' });
  });

  async function open(port: number): Promise<RedisStore> {
    const url = `redis://127.0.0.1:${port}`;
    const opened = new RedisStore({ url, prefix: 'lessor', shards: 1, durability: 'default' });
    await opened.open();
    return opened;
  }

  function task(payload: string): NewTask {
    return {
      id: direct.newTaskId(queue),
      type: null,
      payload: payload as JsonText,
      ...{ priority: 4, delayMs: null, runAt: null, ttlMs: null, leaseMs: null, maxAttempts: null, backoff: null },
      ...{ tags: [], metadata: {}, trace: null, idempotency: null, unique: null, groupKey: null, retentionMs: null },
    };
  }

  function leaseCall(token: string, requestId: string | null, leaseMs = 60_000): LeaseCall {
    return { queue, token, max: 1, leaseMs, workerId: null, requestId };
  }

  /** Makes calls in one script of which no reply comes back, however often it is sent. */
  async function loseReply(calls: readonly LeaseCall[]): Promise<void> {
    losing = true;
    try {
      await assert.rejects(store.lease(calls), { name: 'StoreError', kind: 'unavailable' });
    } finally {
      losing = false;
    }
    assert.equal((await record()).totals.leased, calls.length, 'the tasks were granted all the same');
  }

  async function record(): Promise<QueueRecord> {
    return (await direct.queue(queue)).queue ?? assert.fail(`there is no queue ${queue}`);
  }

  test('is given back with its attempt and its place, but stays where the call has a request id', async () => {
    await loseReply([leaseCall('lost', null), leaseCall('named', 'r')]);
    // One look clears up after both.
    await until(async () => (await record()).totals.released > 0, { what: 'a lease is given back' });
    const { counts } = await record();
    assert.deepEqual([counts.leased, counts.ready], [1, 1]);
    const { results } = await store.lease([leaseCall('heard', null), leaseCall('again', 'r')]);
    assert.deepEqual(
      results.flat().map(({ token, task: { payload, attempt, deliveries } }) => [token, payload, attempt, deliveries]),
      [
        ['heard', '0', 1, 2],
        ['named', '1', 1, 1],
      ],
    );
    const [named] = results[1] ?? [];
    const acked = await store.settle([{ verb: 'ack', id: named?.task.id ?? '', token: 'named', result: null }]);
    assert.equal(acked.results[0]?.outcome, 'settled');
  });

  test('wakes those who wait when it ran out before it could be given back', async () => {
    const woken = new Set<string>();
    store.wakes.onReady((name) => woken.add(name));
    await loseReply([leaseCall('lost', null, 1)]);
    await until(() => woken.has(queue), { what: 'word of the queue' });
    const { counts, totals } = await record();
    assert.deepEqual([counts.ready, counts.leased, totals.expired, totals.released], [2, 0, 1, 0]);
  });

  test('is given back before the next call of the same shard, which finds it', async () => {
    await loseReply([leaseCall('lost', null), leaseCall('lost-too', null)]);
    const leased = until(() => store.lease([leaseCall('heard', null)]).catch(() => null));
    const [[grant] = []] = (await leased).results;
    assert.deepEqual([grant?.token, grant?.task.payload], ['heard', '0']);
    assert.equal((await record()).totals.released, 2);
  });
});
