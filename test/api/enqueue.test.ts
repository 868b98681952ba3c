import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertInvalid, assertProblem, many, onEveryStore } from './api-app.ts';

const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const OTHER_TRACEPARENT = '00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';

describe('POST /tasks', () => {
  onEveryStore((app) => {
    test('answers 201 with the bare task and its Location', async () => {
      const queue = app().newQueue();
      const reply = await app().post('/tasks', { queue, type: 'welcome', payload: { a: 1 } });
      assert.equal(reply.status, 201);
      assert.equal(reply.headers.location, `/tasks/${reply.body.id}`);
      assert.equal(reply.headers['cache-control'], 'no-store');
      assert.equal(reply.body.queue, queue);
      assert.equal(reply.body.state, 'ready');
      assert.equal(reply.body.type, 'welcome');
      assert.equal(reply.body.groupKey, null);
      assert.equal(reply.body.uniqueKey, null);
      assert.match(reply.body.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      for (const large of ['payload', 'result', 'checkpoint']) assert.ok(!(large in reply.body), large);
    });

    test('fills in every default', async () => {
      const { id } = await app().enqueue({});
      const { body } = await app().get(`/tasks/${id}`);
      assert.equal(body.queue, 'default');
      assert.equal(body.type, null);
      assert.equal(body.payload, null);
      assert.equal(body.priority, 4);
      assert.equal(body.maxAttempts, 5);
      assert.deepEqual(body.tags, []);
      assert.deepEqual(body.metadata, {});
      assert.equal(body.expiresAt, null);
      assert.equal(body.trace, null);
      assert.equal(body.runAt, body.createdAt);
    });

    test('keeps every field', async () => {
      const task = {
        queue: app().newQueue(),
        type: 'report',
        payload: [1, 'two'],
        priority: 9,
        ttlMs: 60_000,
        leaseMs: 5000,
        maxAttempts: 2,
        backoff: { type: 'fixed', baseMs: 10 },
        tags: ['eu', 'ü'],
        metadata: { tenant: 'acme', empty: '' },
        trace: { traceparent: TRACEPARENT, tracestate: 'vendor=1' },
      };
      const { id, createdAt } = await app().enqueue(task);
      const { body } = await app().get(`/tasks/${id}`);
      const kept = ['queue', 'type', 'payload', 'priority', 'maxAttempts', 'tags', 'metadata', 'trace'] as const;
      for (const name of kept) {
        assert.deepEqual(body[name], task[name], name);
      }
      assert.equal(Date.parse(body.expiresAt), Date.parse(createdAt) + 60_000);
      const [granted] = await app().lease(task.queue);
      assert.ok(granted.lease.remainingMs <= 5000 && granted.lease.remainingMs > 3000);
    });

    test('schedules by delayMs and by runAt with any offset; the past means now', async () => {
      const { createdAt, runAt, state } = await app().enqueue({ delayMs: 5000 });
      assert.equal(state, 'scheduled');
      assert.equal(Date.parse(runAt), Date.parse(createdAt) + 5000);
      const later = new Date(Date.parse(createdAt) + 3_600_000).toISOString().replace('Z', '+00:00');
      assert.equal(Date.parse((await app().enqueue({ runAt: later })).runAt), Date.parse(later));
      for (const past of ['2001-01-01t00:00:00-05:30', '1969-12-31T23:59:59.999Z', '0001-01-01T00:00:00Z']) {
        assert.equal((await app().enqueue({ runAt: past })).state, 'ready', past);
      }
    });

    test('refuses what lies more than 366 days ahead, and a delay together with a time', async () => {
      const far = new Date(Date.parse((await app().enqueue({})).createdAt) + 367 * 86_400_000).toISOString();
      assertInvalid(await app().post('/tasks', { runAt: far }), '/runAt');
      assertInvalid(await app().post('/tasks', { delayMs: 366 * 86_400_000 + 1 }), '/delayMs');
      assertInvalid(await app().post('/tasks', { delayMs: 1, runAt: far }), '/runAt');
      assertInvalid(await app().post('/tasks', { delayMs: 1, runAt: far, priority: 11 }), '/runAt', '/priority');
    });

    test('stores the trace of the headers, unless the body has one; what is not valid is as good as absent', async () => {
      const queue = app().newQueue();
      const traceOf = async (body: object, headers: Record<string, string>): Promise<unknown> => {
        const { body: task } = await app().post('/tasks', { queue, ...body }, headers);
        return task.trace;
      };
      const headers = { traceparent: TRACEPARENT, tracestate: 'vendor=1,other=2' };
      assert.deepEqual(await traceOf({}, headers), headers);
      assert.deepEqual(await traceOf({}, { traceparent: TRACEPARENT }), { traceparent: TRACEPARENT, tracestate: null });
      assert.deepEqual(await traceOf({ trace: { traceparent: OTHER_TRACEPARENT } }, headers), {
        traceparent: OTHER_TRACEPARENT,
        tracestate: null,
      });
      assert.equal(await traceOf({}, { traceparent: 'nonsense' }), null);
      assert.equal(await traceOf({}, { tracestate: 'vendor=1' }), null);
      assertInvalid(await app().post('/tasks', { trace: { traceparent: 'nonsense' } }), '/trace/traceparent');
    });

    test('answers a repeated Idempotency-Key with the first task, whether it is quoted or bare', async () => {
      const task = { queue: app().newQueue(), payload: { b: 1, a: ['two'] } };
      const first = await app().post('/tasks', task, { 'idempotency-key': 'order-17' });
      assert.equal(first.status, 201);
      assert.equal(first.headers['idempotency-replayed'], undefined);
      const again = await app().post('/tasks', task, { 'idempotency-key': '"order-17"' });
      assert.equal(again.status, 200);
      assert.equal(again.headers['idempotency-replayed'], 'true');
      assert.equal(again.headers.location, `/tasks/${first.body.id}`);
      assert.equal(again.body.id, first.body.id);
    });

    test('takes spelt-out defaults and another order of keys for the same body, but not other digits', async () => {
      const headers = { 'idempotency-key': `digits-${app().newQueue()}` };
      const post = (raw: string) => app().call('POST', '/tasks', { raw, headers });
      const first = await post('{"payload":{"a":1,"b":9007199254740993}}');
      assert.equal(first.status, 201);
      const same = await post('{"priority":4,"queue":"default","payload":{"b":9007199254740993,"a":1.0},"tags":[]}');
      assert.equal(same.status, 200, same.text);
      assert.equal(same.body.id, first.body.id);
      const other = await post('{"payload":{"a":1,"b":9007199254740992}}');
      const errors = assertProblem(other, 422, 'idempotency_key_reused');
      assert.equal(errors[0]?.pointer, '/headers/idempotency-key');
    });

    test('keeps the keys of queues apart, and counts a trace only where the body names it', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      const key = { 'idempotency-key': 'same' };
      assert.equal((await app().post('/tasks', { queue: one }, key)).status, 201);
      assert.equal((await app().post('/tasks', { queue: two }, key)).status, 201);
      assert.equal((await app().post('/tasks', { queue: one }, { ...key, traceparent: TRACEPARENT })).status, 200);
      const named = await app().post('/tasks', { queue: one, trace: { traceparent: TRACEPARENT } }, key);
      assertProblem(named, 422, 'idempotency_key_reused');
    });

    test('refuses an Idempotency-Key that is empty, too long or not visible ASCII', async () => {
      for (const key of ['', '""', 'a b', 'a'.repeat(256), '"unclosed', '"a"b"']) {
        const reply = await app().post('/tasks', {}, { 'idempotency-key': key });
        assertInvalid(reply, '/headers/idempotency-key');
      }
      assert.equal((await app().post('/tasks', {}, { 'idempotency-key': 'k'.repeat(255) })).status, 201);
    });

    test('uses up no key with a request that is refused', async () => {
      const queue = app().newQueue();
      const headers = { 'idempotency-key': 'once' };
      assertInvalid(await app().post('/tasks', { queue, priority: 10 }, headers), '/priority');
      assert.equal((await app().post('/tasks', { queue, priority: 9 }, headers)).status, 201);
    });

    test('refuses what is not served: it would silently do nothing', async () => {
      const body = { uniqueKey: 'u', group: 'g', maxConcurrency: 1 };
      assertInvalid(await app().post('/tasks', body), '/uniqueKey', '/group', '/maxConcurrency');
    });

    test('points an idempotencyKey in the body to the header', async () => {
      const [error] = assertInvalid(await app().post('/tasks', { idempotencyKey: 'k' }), '/idempotencyKey');
      assert.match(error?.detail ?? '', /Idempotency-Key header/);
    });
  });
});

describe('POST /tasks/batch', () => {
  onEveryStore((app) => {
    test('stores 1000 tasks and answers 201 with them in order', async () => {
      const queue = app().newQueue();
      const tasks = Array.from({ length: 1000 }, (_, index) => ({ queue, metadata: { index: String(index) } }));
      const reply = await app().post('/tasks/batch', { tasks });
      assert.equal(reply.status, 201);
      assert.deepEqual(
        reply.body.tasks.map((task) => task.metadata['index']),
        tasks.map(({ metadata }) => metadata.index),
      );
      const ids = reply.body.tasks.map((task) => task.id);
      assert.deepEqual(
        ids.toSorted((a, b) => (a < b ? -1 : 1)),
        ids,
        'ids sort by creation',
      );
    });

    test('stores nothing when one entry is bad, and names every bad one', async () => {
      const queue = app().newQueue();
      const tasks: object[] = Array.from({ length: 1000 }, () => ({ queue }));
      tasks[3] = { queue, priority: 10 };
      tasks[777] = { queue, paylod: 1, delayMs: -1 };
      const reply = await app().post('/tasks/batch', { tasks });
      const errors = assertInvalid(reply, '/tasks/3/priority', '/tasks/777/delayMs', '/tasks/777/paylod');
      assert.match(errors.find(({ pointer }) => pointer.endsWith('paylod'))?.detail ?? '', /did you mean "payload"\?/);
      assert.equal((await app().get(`/queues/${queue}`)).status, 404);
    });

    test('refuses none and 1001', async () => {
      assertInvalid(await app().post('/tasks/batch', { tasks: [] }), '/tasks');
      assertInvalid(await app().post('/tasks/batch', { tasks: many(1001, {}) }), '/tasks');
      assertInvalid(await app().post('/tasks/batch', {}), '/tasks');
      assertInvalid(await app().post('/tasks/batch', { tasks: {} }), '/tasks');
      assertInvalid(await app().post('/tasks/batch', { tasks: [1, null] }), '/tasks/0', '/tasks/1');
    });

    test('lists at most 100 faults', async () => {
      const reply = await app().post('/tasks/batch', { tasks: many(500, { priority: 'high' }) });
      assert.equal(assertProblem(reply, 422, 'validation_failed').length, 100);
    });

    test('takes idempotency keys per entry and refuses the header', async () => {
      const queue = app().newQueue();
      const tasks = [{ queue, idempotencyKey: 'a' }, { queue }, { queue, idempotencyKey: 'b' }];
      const first = await app().post('/tasks/batch', { tasks });
      const again = await app().post('/tasks/batch', { tasks });
      assert.equal(again.status, 201);
      assert.equal(again.body.tasks[0].id, first.body.tasks[0].id);
      assert.notEqual(again.body.tasks[1].id, first.body.tasks[1].id);
      assert.equal(again.body.tasks[2].id, first.body.tasks[2].id);
      assertInvalid(
        await app().post('/tasks/batch', { tasks }, { 'idempotency-key': 'k' }),
        '/headers/idempotency-key',
      );
      assertInvalid(await app().post('/tasks/batch', { tasks: [{ idempotencyKey: '' }] }), '/tasks/0/idempotencyKey');
    });

    test('a key is the same key in a batch and alone', async () => {
      const queue = app().newQueue();
      const { body } = await app().post('/tasks', { queue, payload: 1 }, { 'idempotency-key': 'k' });
      const batch = await app().post('/tasks/batch', { tasks: [{ queue, payload: 1, idempotencyKey: 'k' }] });
      assert.equal(batch.body.tasks[0].id, body.id);
    });

    test('names the entries that reuse a key with another body, and stores nothing', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      await app().post('/tasks', { queue: one }, { 'idempotency-key': 'k' });
      const reply = await app().post('/tasks/batch', {
        tasks: [
          { queue: two },
          { queue: one, idempotencyKey: 'k', priority: 1 },
          { queue: one, idempotencyKey: 'k', priority: 2 },
        ],
      });
      const errors = assertProblem(reply, 422, 'idempotency_key_reused');
      assert.deepEqual(
        errors.map(({ pointer }) => pointer),
        ['/tasks/1/idempotencyKey', '/tasks/2/idempotencyKey'],
      );
      assert.equal((await app().get(`/queues/${two}`)).status, 404);
    });

    test('gives the trace of the headers to entries without one', async () => {
      const queue = app().newQueue();
      const { body } = await app().post(
        '/tasks/batch',
        { tasks: [{ queue }, { queue, trace: { traceparent: OTHER_TRACEPARENT } }] },
        { traceparent: TRACEPARENT },
      );
      assert.deepEqual(
        body.tasks.map((task) => task.trace.traceparent),
        [TRACEPARENT, OTHER_TRACEPARENT],
      );
    });

    test('takes a retention of its own, from none to 366 days', async () => {
      const queue = app().newQueue();
      const tasks = [500_000, 366 * 86_400_000].map((retentionMs) => ({ queue, retentionMs }));
      const [gone, kept] = (await app().post('/tasks/batch', { tasks })).body.tasks.map((task) => task.id);
      const { body } = await app().post('/tasks', { queue, retentionMs: 0 });
      for (const id of [gone, kept, body.id]) await app().post(`/tasks/${id}/cancel`, {});
      await app().advance(550_000);
      for (const id of [gone, body.id]) assert.equal((await app().get(`/tasks/${id}`)).status, 404);
      assert.equal((await app().get(`/tasks/${kept}`)).status, 200);
      for (const retentionMs of [-1, 0.5, 366 * 86_400_000 + 1, '1h', null]) {
        assertInvalid(await app().post('/tasks', { retentionMs }), '/retentionMs');
        assertInvalid(await app().post('/tasks/batch', { tasks: [{ retentionMs }] }), '/tasks/0/retentionMs');
      }
    });

    test('spreads over several queues', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      const { body } = await app().post('/tasks/batch', { tasks: [{ queue: one }, { queue: two }, { queue: one }] });
      assert.deepEqual(
        body.tasks.map((task) => task.queue),
        [one, two, one],
      );
    });
  });
});
