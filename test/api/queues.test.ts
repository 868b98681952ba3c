import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_QUEUE_CONFIG } from '../../src/domain/queue.ts';
import { until } from '../support/until.ts';
import { assertInvalid, assertProblem, many, onEveryStore, type Reply } from './api-app.ts';

const ZEROS = {
  ready: 0,
  scheduled: 0,
  blocked: 0,
  leased: 0,
  completed: 0,
  dead: 0,
  waiters: 0,
  oldestReadyAgeMs: 0,
  backlog: 0,
};

describe('queues', () => {
  onEveryStore((app) => {
    const put = (queue: string, body?: unknown): Promise<Reply> =>
      app().call('PUT', `/queues/${queue}`, body === undefined ? {} : { body });
    const patch = (queue: string, body: unknown): Promise<Reply> => app().call('PATCH', `/queues/${queue}`, { body });

    test('a queue that does not exist is 404, but its stats are zeros', async () => {
      const queue = app().newQueue();
      assertProblem(await app().get(`/queues/${queue}`), 404, 'queue_not_found');
      const stats = await app().get(`/queues/${queue}/stats`);
      assert.equal(stats.status, 200);
      assert.deepEqual(stats.body, ZEROS);
      assert.equal((await app().get(`/queues/${queue}`)).status, 404, 'asking makes none');
    });

    test('stats are flat numbers, backlog being ready + leased', async () => {
      const queue = app().newQueue();
      await app().post('/tasks/batch', {
        tasks: [{ queue }, { queue }, { queue }, { queue }, { queue }, { queue, delayMs: 60_000 }],
      });
      const [done, failed] = await app().lease(queue, '&max=3');
      await app().post(`/tasks/${done.id}/ack`, { leaseToken: done.lease.token });
      await app().post(`/tasks/${failed.id}/nack`, { leaseToken: failed.lease.token, retryable: false });
      await app().advance(1500);
      const { body } = await app().get(`/queues/${queue}/stats`);
      assert.deepEqual(body, {
        ready: 2,
        scheduled: 1,
        blocked: 0,
        leased: 1,
        completed: 1,
        dead: 1,
        waiters: 0,
        oldestReadyAgeMs: body.oldestReadyAgeMs,
        backlog: 3,
      });
      assert.ok(body.oldestReadyAgeMs >= 1500 && body.oldestReadyAgeMs < 5000, String(body.oldestReadyAgeMs));
    });

    test('a queue shows its configuration, counts and totals', async () => {
      const held = await app().leased();
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.token });
      const { body } = await app().get(`/queues/${held.queue}`);
      assert.equal(body.name, held.queue);
      assert.equal(body.paused, false);
      assert.deepEqual(body.config, DEFAULT_QUEUE_CONFIG);
      assert.deepEqual(body.settings, {});
      assert.equal(body.counts.completed, 1);
      assert.equal(body.backlog, 0);
      assert.deepEqual(body.totals, {
        enqueued: 1,
        leased: 1,
        acked: 1,
        nacked: 0,
        released: 0,
        expired: 0,
        dead: 0,
      });
    });

    test('PUT makes (201) and replaces (200): what is left out returns to the default', async () => {
      const queue = app().newQueue();
      const made = await put(queue, { leaseMs: 1000, backoff: { type: 'fixed' } });
      assert.equal(made.status, 201);
      assert.equal(made.headers.location, `/queues/${queue}`);
      assert.deepEqual(made.body.settings, { leaseMs: 1000, backoff: { type: 'fixed' } });
      assert.equal(made.body.config.backoff.type, 'fixed');
      assert.equal(made.body.config.backoff.baseMs, 1000);
      const replaced = await put(queue, { maxAttempts: 3, retention: { completedMax: 0 } });
      assert.equal(replaced.status, 200);
      assert.deepEqual(replaced.body.settings, { maxAttempts: 3, retention: { completedMax: 0 } });
      assert.equal(replaced.body.config.leaseMs, DEFAULT_QUEUE_CONFIG.leaseMs);
      assert.equal((await put(queue)).status, 200);
      assert.deepEqual((await app().get(`/queues/${queue}`)).body.settings, {});
    });

    test('PATCH changes what is named, and only of a queue that exists', async () => {
      const queue = app().newQueue();
      assertProblem(await patch(queue, { leaseMs: 1000 }), 404, 'queue_not_found');
      await put(queue, { leaseMs: 1000, backoff: { type: 'fixed', baseMs: 7 } });
      const reply = await patch(queue, { maxAttempts: 9, backoff: { baseMs: 8 } });
      assert.equal(reply.status, 200);
      assert.deepEqual(reply.body.settings, { leaseMs: 1000, maxAttempts: 9, backoff: { type: 'fixed', baseMs: 8 } });
      assertInvalid(await app().call('PATCH', `/queues/${queue}`), '');
    });

    test('settings apply to tasks at once', async () => {
      const queue = app().newQueue();
      await app().enqueue({ queue });
      await put(queue, { leaseMs: 777, maxAttempts: 1 });
      const [task] = await app().lease(queue);
      assert.ok(task.lease.remainingMs <= 777);
      assert.equal(task.maxAttempts, 1);
    });

    test('every bad setting is named, and null is no way to unset one', async () => {
      const queue = app().newQueue();
      const bad: [object, ...string[]][] = [
        [{ leaseMs: 99 }, '/leaseMs'],
        [{ leaseMs: 43_200_001, maxAttempts: 0 }, '/leaseMs', '/maxAttempts'],
        [{ maxAttempts: 1001 }, '/maxAttempts'],
        [
          { backoff: { type: 'random', baseMs: -1, maxMs: 31_622_400_001, jitter: 1.1, base: 1 } },
          '/backoff/type',
          '/backoff/baseMs',
          '/backoff/maxMs',
          '/backoff/jitter',
          '/backoff/base',
        ],
        [
          { retention: { completedMs: -1, completedMax: 1_000_001, deadMs: 'long' } },
          '/retention/completedMs',
          '/retention/completedMax',
          '/retention/deadMs',
        ],
        [{ maxConcurrency: 0 }, '/maxConcurrency'],
        [{ rateLimit: { limit: 0, periodMs: 86_400_001 } }, '/rateLimit/limit', '/rateLimit/periodMs'],
        [{ rateLimit: { limit: 10_001 }, group: {} }, '/rateLimit/limit', '/rateLimit/periodMs', '/group'],
        [{ maxBacklog: -1 }, '/maxBacklog'],
        [{ maxBacklog: 1.5 }, '/maxBacklog'],
        [{ maxBacklog: null }, '/maxBacklog'],
        [{ retention: 5 }, '/retention'],
      ];
      for (const [body, ...pointers] of bad) assertInvalid(await put(queue, body), ...pointers);
      const [error] = assertInvalid(await put(queue, { leaseMs: null }), '/leaseMs');
      assert.match(error?.detail ?? '', /null.*default/);
      assert.equal((await app().get(`/queues/${queue}`)).status, 404, 'nothing was made');
    });

    test('bad names are refused by pointer on every path', async () => {
      const long = 'a'.repeat(129);
      for (const name of ['-a', '.a', 'a b', 'ü', 'a%2Fb', long, '%00', 'a{b}']) {
        const path = `/queues/${name.includes('%') ? name : encodeURIComponent(name)}`;
        for (const [method = '', rest = ''] of [
          ['GET', ''],
          ['GET', '/stats'],
          ['PUT', ''],
          ['DELETE', ''],
          ['POST', '/pause'],
        ]) {
          assertInvalid(await app().call(method, `${path}${rest}`), '/queue');
        }
        if (!name.includes('%')) {
          assertInvalid(await app().post('/tasks', { queue: name, type: name }), '/queue', '/type');
        }
      }
      assert.equal((await put(`A${'._:-9z'.repeat(21)}x`)).status, 201, 'the longest name and every character');
    });

    test('pages of queues come in byte order and follow links', async () => {
      const names = ['b', 'B', 'a', 'a1', 'a-1', '0'].map((name) => `${name}.${app().newQueue()}`);
      for (const name of names) await put(name);
      const seen: string[] = [];
      let path: string | undefined = '/queues?limit=2';
      while (path !== undefined) {
        const reply: Reply = await app().get(path);
        assert.equal(reply.status, 200);
        assert.ok(reply.body.queues.length <= 2);
        seen.push(...reply.body.queues.map((found) => found.name));
        path = /^<([^>]+)>/.exec(String(reply.headers['link']))?.[1];
        assert.equal(path === undefined, reply.body.nextCursor === null);
      }
      assert.deepEqual(seen, [...seen].sort());
      assert.deepEqual(
        seen.filter((name) => names.includes(name)),
        [...names].sort(),
      );
      for (const cursor of ['', '!!', Buffer.from('not a name').toString('base64url'), 'YQ==']) {
        assertInvalid(await app().get(`/queues?cursor=${cursor}`), '/cursor');
      }
      assertInvalid(await app().get('/queues?limit=1001'), '/limit');
    });

    test('pause stops grants and resume lets them through', async () => {
      const queue = app().newQueue();
      await app().enqueue({ queue });
      const paused = await app().post(`/queues/${queue}/pause`);
      assert.equal(paused.status, 200);
      assert.equal(paused.body.paused, true);
      assert.deepEqual(await app().lease(queue), []);
      await app().enqueue({ queue });
      const resumed = await app().post(`/queues/${queue}/resume`, {});
      assert.equal(resumed.body.paused, false);
      assert.equal((await app().lease(queue, '&max=2')).length, 2);
      assertInvalid(await app().post(`/queues/${queue}/pause`, { until: 1 }), '/until');
      assertProblem(await app().post(`/queues/${app().newQueue()}/pause`), 404, 'queue_not_found');
      assertProblem(await app().post(`/queues/${app().newQueue()}/resume`), 404, 'queue_not_found');
    });

    test('purge deletes by state and answers how many', async () => {
      const queue = app().newQueue();
      await app().post('/tasks/batch', { tasks: [{ queue }, { queue }, { queue, delayMs: 1000 }] });
      const [held] = await app().lease(queue);
      const reply = await app().post(`/queues/${queue}/purge`, { states: ['ready', 'scheduled', 'dead', 'ready'] });
      assert.equal(reply.status, 200);
      assert.deepEqual(reply.body, { purged: { ready: 1, scheduled: 1, dead: 0 } });
      assert.equal((await app().get(`/tasks/${held.id}`)).body.state, 'leased');
      assertInvalid(await app().post(`/queues/${queue}/purge`, { states: ['ready', 'leased'] }), '/states/1');
      assertInvalid(await app().post(`/queues/${queue}/purge`, { states: ['gone'] }), '/states/0');
      assertInvalid(await app().post(`/queues/${queue}/purge`, { states: [] }), '/states');
      assertInvalid(await app().post(`/queues/${queue}/purge`, {}), '/states');
      assertInvalid(await app().post(`/queues/${queue}/purge`), '');
      assertProblem(
        await app().post(`/queues/${app().newQueue()}/purge`, { states: ['dead'] }),
        404,
        'queue_not_found',
      );
    });

    test('delete refuses a queue that holds tasks, unless by force', async () => {
      const held = await app().leased();
      const remove = (query = ''): Promise<Reply> => app().call('DELETE', `/queues/${held.queue}${query}`);
      assertProblem(await remove(), 409, 'queue_not_empty');
      assertProblem(await remove('?force=false'), 409, 'queue_not_empty');
      assertInvalid(await remove('?force=yes'), '/force');
      assertInvalid(await remove('?forced=true'), '/forced');
      assert.equal((await remove('?force=true')).status, 204);
      assertProblem(await remove(), 404, 'queue_not_found');
      assertProblem(await app().get(`/tasks/${held.id}`), 404, 'task_not_found');
    });

    test('a queue whose deletion is refused is as it was, with its finished tasks and their idempotency keys', async () => {
      const queue = app().newQueue();
      const key = { 'idempotency-key': 'once' };
      const { id } = (await app().post('/tasks', { queue }, key)).body;
      await app().post(`/tasks/${id}/cancel`, {});
      await app().enqueue({ queue });
      assertProblem(await app().call('DELETE', `/queues/${queue}`), 409, 'queue_not_empty');
      assert.equal((await app().get(`/tasks/${id}`)).body.state, 'cancelled');
      const again = await app().post('/tasks', { queue }, key);
      assert.deepEqual([again.status, again.body.id], [200, id]);
    });

    for (const force of [false, true]) {
      const rule = force ? 'goes with it by force' : 'keeps it without force, and what was there is gone';
      test(`work that comes in while a queue is deleted ${rule}`, async () => {
        const queue = app().newQueue();
        await app().call('PUT', `/queues/${queue}`, { body: { maxAttempts: 7 } });
        const { tasks } = (await app().post('/tasks/batch', { tasks: many(400, { queue }) })).body;
        await app().store.cancel(tasks.map(({ id }) => ({ id, reason: null, force: false })));
        const step = app().watch.hold('reply', 'dropQueue');
        const deletion = app().call('DELETE', `/queues/${queue}?force=${force}`);
        await until(() => step.held === 1, { what: 'the first step' });
        const { id } = await app().enqueue({ queue });
        step.release();
        assert.equal((await deletion).status, 204);
        const [found, task] = await Promise.all([app().get(`/queues/${queue}`), app().get(`/tasks/${id}`)]);
        if (force) {
          assertProblem(found, 404, 'queue_not_found');
          assertProblem(task, 404, 'task_not_found');
        } else {
          const { counts, config } = found.body;
          assert.deepEqual([counts.ready, counts.cancelled, config.maxAttempts], [1, 0, 7]);
          assert.equal(task.body.state, 'ready');
        }
      });
    }
  });
});
