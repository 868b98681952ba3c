import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Broker } from '../../src/broker/broker.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { startRedis } from '../support/redis-server.ts';
import type { StoreHarness } from '../support/stores.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { ApiApp, assertProblem } from './api-app.ts';

const SECRET = 'SELECT * FROM secrets at /var/lib';

/** A broker on a real store, of which reading a task fails. */
function failing(error: () => Error): (broker: Broker) => Broker {
  return (broker) => ({
    ...broker,
    task: async () => {
      throw error();
    },
  });
}

describe('faults of the broker and its store', () => {
  const harness = STORE_HARNESSES.sqlite();
  after(() => harness.stop());

  const cases: [string, () => Error, number, string, string | undefined][] = [
    ['anything unexpected', () => new TypeError(SECRET), 500, 'internal_error', undefined],
    ['no answer from the store', () => new StoreError('unavailable', SECRET), 503, 'store_unavailable', '1'],
    ['a full store', () => new StoreError('full', SECRET), 507, 'store_full', undefined],
    ['a store that is being closed', () => new StoreError('closed', SECRET), 503, 'shutting_down', '1'],
  ];
  for (const [name, error, status, code, retryAfter] of cases) {
    test(`${name} is ${status} ${code}; the client learns nothing of the cause, the log everything`, async () => {
      const app = await ApiApp.start(harness, { broker: failing(error) });
      try {
        const reply = await app.get('/tasks/x', { 'x-request-id': 'look-for-me' });
        assertProblem(reply, status, code);
        assert.equal(reply.body.retryable, true);
        assert.equal(reply.headers['retry-after'], retryAfter);
        assert.doesNotMatch(reply.text, /secrets|stack|TypeError|StoreError|\.ts/);
        const [line = ''] = app.logged;
        const logged = JSON.parse(line);
        assert.equal(logged.reqId, 'look-for-me');
        assert.equal(logged.route, '/tasks/:id');
        assert.equal(logged.status, status);
        assert.equal(logged.err.message, SECRET);
        assert.equal(app.logged.length, 1);
        assert.equal((await app.get('/livez')).status, 200, 'the server lives on');
      } finally {
        await app.stop();
      }
    });
  }
});

/** A Redis server of one test's own, in place of a harness. */
async function redisOf(args: readonly string[] = []): Promise<{ harness: StoreHarness; kill: () => Promise<void> }> {
  const server = await startRedis({ args });
  return {
    kill: () => server.kill(),
    harness: {
      name: 'redis',
      async open() {
        const store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 8, durability: 'default' });
        await store.open();
        return {
          store,
          now: () => Date.now(),
          advance: () => Promise.reject(new Error('a real clock cannot be moved')),
          reopen: () => Promise.reject(new Error('not for this test')),
          stored: () => Promise.reject(new Error('not for this test')),
          findings: () => Promise.reject(new Error('not for this test')),
          close: () => store.close(),
        };
      },
      stop: () => server.stop(),
    },
  };
}

describe('a Redis that fails', () => {
  test('a killed one is 503 with Retry-After on every route, never an empty list', async () => {
    const { harness, kill } = await redisOf();
    const app = await ApiApp.start(harness);
    try {
      const { id } = await app.enqueue({ queue: 'q' });
      await kill();
      const calls: [string, string, unknown?][] = [
        ['POST', '/tasks', { queue: 'q' }],
        ['POST', '/tasks/batch', { tasks: [{ queue: 'q' }, { queue: 'other' }] }],
        ['GET', '/tasks/lease?queue=q&waitMs=0'],
        ['GET', `/tasks/${id}`],
        ['GET', '/tasks?queue=q'],
        ['POST', `/tasks/${id}/ack`, { leaseToken: 't' }],
        ['POST', '/leases/settle', { items: [{ id, op: 'ack', leaseToken: 't' }] }],
        ['POST', `/tasks/${id}/cancel`],
        ['GET', '/queues'],
        ['GET', '/queues/q/stats'],
        ['PUT', '/queues/q', {}],
      ];
      for (const [method, path, body] of calls) {
        const started = performance.now();
        const reply = await app.call(method, path, body === undefined ? {} : { body });
        assertProblem(reply, 503, 'store_unavailable');
        assert.match(String(reply.headers['retry-after']), /^\d+$/);
        assert.ok(performance.now() - started < 5000, `${method} ${path} within 5 s`);
      }
    } finally {
      await app.stop();
      await harness.stop();
    }
  });

  test('a full one is 507 for new tasks, and takes acks all the same', async () => {
    const { harness } = await redisOf(['--maxmemory', '8mb']);
    const app = await ApiApp.start(harness);
    try {
      const payload = 'x'.repeat(250_000);
      let reply = await app.post('/tasks', { queue: 'full', payload });
      for (let count = 0; count < 100 && reply.status === 201; count++) {
        reply = await app.post('/tasks', { queue: 'full', payload });
      }
      assertProblem(reply, 507, 'store_full');
      assert.equal(reply.headers['retry-after'], undefined);
      const [task] = await app.lease('full');
      const acked = await app.post(`/tasks/${task.id}/ack`, { leaseToken: task.lease.token });
      assert.equal(acked.status, 200, 'what is held can be acknowledged');
    } finally {
      await app.stop();
      await harness.stop();
    }
  });
});

describe('a batch that was stored in part', () => {
  const harness = STORE_HARNESSES.sqlite();
  after(() => harness.stop());

  test('is 207 with a status per entry, in order', async () => {
    const app = await ApiApp.start(harness, {
      // A store that has no room for one of the queues.
      store: (store) =>
        new Proxy(store, {
          get(target, name) {
            const value: unknown = Reflect.get(target, name, target);
            if (name !== 'enqueue') return typeof value === 'function' ? value.bind(target) : value;
            const enqueue: typeof store.enqueue = async (calls) => {
              if (calls.some(({ queue }) => queue === 'full')) throw new StoreError('full', SECRET);
              return target.enqueue(calls);
            };
            return enqueue;
          },
        }),
    });
    try {
      const key = { queue: 'roomy', idempotencyKey: 'k' };
      assert.equal((await app.post('/tasks/batch', { tasks: [key] })).status, 201);
      const reply = await app.post('/tasks/batch', { tasks: [{ queue: 'roomy' }, { queue: 'full' }, key] });
      assert.equal(reply.status, 207);
      assert.equal(reply.body.failed, 1);
      assert.deepEqual(
        reply.body.results.map(({ status }) => status),
        [201, 507, 200],
      );
      assert.equal(reply.body.results[0].task.queue, 'roomy');
      assert.equal(reply.body.results[1].problem.code, 'store_full');
      assert.doesNotMatch(reply.text, /secrets/);
    } finally {
      await app.stop();
    }
  });
});
