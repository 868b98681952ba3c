import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import type { Broker, EnqueueEntry } from '../../src/broker/broker.ts';
import { createBroker } from '../../src/broker/create-broker.ts';
import type { JsonText } from '../../src/domain/json-text.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { seeded, testSeed } from '../support/seeded.ts';
import { startTcpLink, type TcpLink } from '../support/tcp-link.ts';
import { until } from '../support/until.ts';

const TASKS = 600;
const PRODUCERS = 5;
const WORKERS = 5;
/** No call may take longer: patience for the connection, a time-out, and a second for a busy machine. */
const LONGEST_CALL_MS = 4300;
const silent = pino({ level: 'silent' });

function entry(number: number): EnqueueEntry {
  return {
    queue: `q${number % 3}`,
    task: {
      type: null,
      payload: String(number) as JsonText,
      priority: 4,
      delayMs: null,
      runAt: null,
      ttlMs: null,
      leaseMs: 60_000,
      maxAttempts: null,
      backoff: null,
      tags: [],
      metadata: {},
      trace: null,
      unique: null,
      groupKey: null,
      retentionMs: null,
      idempotency: { key: `key ${number}`, fingerprint: String(number) },
    },
  };
}

describe('replies of Redis that are lost', () => {
  const seed = testSeed();
  let redis: RedisServer;
  let proxy: TcpLink;
  let stores: RedisStore[];
  let broker: Broker;
  let losing = true;
  let longest = 0;

  before(async () => {
    redis = await startRedis();
    const random = seeded(seed);
    proxy = await startTcpLink(redis.port, () => losing && random() < 0.1);
    losing = false;
    const open = async (port: number): Promise<RedisStore> => {
      const url = `redis://127.0.0.1:${port}`;
      const store = new RedisStore({ url, prefix: 'lessor', shards: 4, durability: 'default', log: silent });
      await store.open();
      return store;
    };
    stores = [await open(proxy.port), await open(redis.port)];
    losing = true;
    broker = createBroker(stores[0] as RedisStore, { log: silent, maxWaiters: 1000 });
    broker.start();
  });

  after(async () => {
    losing = false;
    await broker.stop();
    for (const store of stores) await store.close();
    await proxy.stop();
    await redis.stop();
  });

  /** Repeats a call for as long as its outcome is unknown, as a client would. */
  async function insist<Result>(call: () => Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      const began = performance.now();
      try {
        return await call();
      } catch (error) {
        assert.ok(error instanceof StoreError && error.kind === 'unavailable', String(error));
        assert.ok(attempt < 50);
      } finally {
        longest = Math.max(longest, performance.now() - began);
      }
    }
  }

  test(`one task per enqueue, one lease per task, one ack per lease (LESSOR_SEED=${seed})`, async () => {
    const ids = new Set<string>();
    let next = 0;
    const producers = Array.from({ length: PRODUCERS }, async () => {
      while (next < TASKS) {
        const number = next++;
        const reply = await insist(() => broker.enqueue([entry(number)]));
        assert.equal(reply.outcome, 'stored');
        const [result] = reply.outcome === 'stored' ? reply.results : [];
        assert.equal(result?.outcome, 'stored');
        if (result?.outcome === 'stored') ids.add(result.task.id);
      }
    });
    await Promise.all(producers);
    assert.equal(ids.size, TASKS);

    const done = new Set<string>();
    const workers = Array.from({ length: WORKERS }, async () => {
      while (done.size < TASKS) {
        const reply = await insist(() =>
          broker.lease({
            queues: ['q0', 'q1', 'q2'],
            order: 'strict',
            max: 2,
            waitMs: 500,
            leaseMs: null,
            workerId: null,
            requestId: null,
            signal: new AbortController().signal,
          }),
        );
        assert.equal(reply.outcome, 'granted');
        for (const { task, token } of reply.outcome === 'granted' ? reply.grants : []) {
          assert.equal(task.attempt, 1, `task ${task.id} was leased twice`);
          const { results } = await insist(() => broker.settle([{ verb: 'ack', id: task.id, token, result: null }]));
          assert.equal(results[0]?.outcome, 'settled');
          assert.ok(!done.has(task.id));
          done.add(task.id);
        }
      }
    });
    await Promise.all(workers);
    losing = false;

    assert.ok(proxy.cuts() > 20, `only ${proxy.cuts()} replies were lost`);
    assert.ok(longest < LONGEST_CALL_MS, `a call took ${Math.round(longest)} ms`);
    const direct = stores[1] as RedisStore;
    await until(async () => (await direct.queue('q0')).queue?.counts.leased === 0, { what: 'no lease is left over' });
    for (const name of ['q0', 'q1', 'q2']) {
      const { queue } = await direct.queue(name);
      assert.equal(queue?.counts.completed, TASKS / 3);
      assert.deepEqual(
        [queue?.counts.ready, queue?.counts.leased, queue?.totals.enqueued, queue?.totals.acked, queue?.totals.expired],
        [0, 0, TASKS / 3, TASKS / 3, 0],
      );
    }
  });
});
