import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from '../support/until.ts';
import { type ApiApp, assertProblem, MAX_WAITERS, onEveryStore } from './api-app.ts';
import type { HttpCall } from './http-call.ts';

const LEASE_MS = 10_000;

/** A GET that waits for the end of a task: what there was to look up at its start has been looked up. */
async function waiting(app: ApiApp, id: string, headers: Record<string, string> = {}): Promise<HttpCall> {
  const before = app.watch.replies('get');
  const call = app.begin('GET', `/tasks/${id}?waitMs=60000`, { headers });
  await until(() => app.watch.replies('get') >= before + 2, { what: 'the task has been looked up twice' });
  await app.watch.quiet();
  return call;
}

describe('GET /tasks/:id with waitMs', () => {
  onEveryStore((app, another) => {
    test('answers at once when the task is terminal', async () => {
      const completed = await app().leased();
      await app().post(`/tasks/${completed.id}/ack`, { leaseToken: completed.token, result: { n: 1 } });
      const dead = await app().leased();
      await app().post(`/tasks/${dead.id}/nack`, { leaseToken: dead.token, retryable: false });
      const cancelled = await app().enqueue({ queue: app().newQueue() });
      await app().post(`/tasks/${cancelled.id}/cancel`);
      const expired = await app().enqueue({ queue: app().newQueue(), ttlMs: 1000 });
      await app().advance(1001);
      for (const [{ id }, state] of [
        [completed, 'completed'],
        [dead, 'dead'],
        [cancelled, 'cancelled'],
        [expired, 'expired'],
      ] as const) {
        const reply = await app().get(`/tasks/${id}?waitMs=60000`);
        assert.equal(reply.status, 200);
        assert.equal(reply.body.state, state);
      }
    });

    test('answers the whole task when it is acknowledged', async () => {
      const held = await app().leased({ payload: { a: 1 } });
      const call = await waiting(app(), held.id);
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.token, result: { n: 1 } });
      const reply = await call.reply;
      assert.equal(reply.status, 200);
      assert.equal(reply.body.state, 'completed');
      assert.deepEqual(reply.body.result, { n: 1 });
      assert.deepEqual(reply.body, (await app().get(`/tasks/${held.id}`)).body);
    });

    test('answers a bulk settle, a nack that kills, a cancel, and a cancel that a worker heeds', async () => {
      const ends: [string, string, (held: { id: string; token: string }) => Promise<unknown>][] = [
        [
          'bulk ack',
          'completed',
          ({ id, token }) => app().post('/leases/settle', { items: [{ id, leaseToken: token, op: 'ack' }] }),
        ],
        ['nack', 'dead', ({ id, token }) => app().post(`/tasks/${id}/nack`, { leaseToken: token, retryable: false })],
        ['cancel by force', 'cancelled', ({ id }) => app().post(`/tasks/${id}/cancel`, { force: true })],
        [
          'cancel and release',
          'cancelled',
          async ({ id, token }) => {
            await app().post(`/tasks/${id}/cancel`);
            await app().post(`/tasks/${id}/release`, { leaseToken: token });
          },
        ],
      ];
      for (const [name, state, end] of ends) {
        const held = await app().leased();
        const call = await waiting(app(), held.id);
        await end(held);
        assert.equal((await call.reply).body.state, state, name);
      }
    });

    test('goes on waiting while the task fails and is tried again', async () => {
      const held = await app().leased();
      const call = await waiting(app(), held.id);
      await app().post(`/tasks/${held.id}/nack`, { leaseToken: held.token, delayMs: 0 });
      const [again] = await app().lease(held.queue);
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: again.lease.token });
      const { body } = await call.reply;
      assert.deepEqual([body.state, body.attempt], ['completed', 2]);
    });

    test('answers what time brings about, and the 404 of a task that is deleted', async () => {
      const held = await app().leased({ leaseMs: LEASE_MS, maxAttempts: 1 });
      const doomed = await app().enqueue({ queue: app().newQueue(), ttlMs: LEASE_MS });
      const purged = await app().enqueue({ queue: app().newQueue() });
      const calls: HttpCall[] = [];
      for (const { id } of [held, doomed, purged]) calls.push(await waiting(app(), id));
      await app().post(`/queues/${purged.queue}/purge`, { states: ['ready'] });
      await app().advance(LEASE_MS + 1);
      const [dead, expired, missing] = await Promise.all(calls.map(({ reply }) => reply));
      assert.ok(dead && expired && missing);
      assert.deepEqual([dead.body.state, dead.body.lastError.code], ['dead', 'lease_expired']);
      assert.equal(expired.body.state, 'expired');
      assertProblem(missing, 404, 'task_not_found');
    });

    test('many who wait for one task are all answered', async () => {
      const held = await app().leased();
      const calls: HttpCall[] = [];
      for (let count = 0; count < 5; count++) calls.push(await waiting(app(), held.id));
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.token });
      for (const call of calls) assert.equal((await call.reply).body.state, 'completed');
    });

    test('answers the task as it is when the wait runs out, and never earlier', async () => {
      const ready = await app().enqueue({ queue: app().newQueue() });
      const began = performance.now();
      const reply = await app().get(`/tasks/${ready.id}?waitMs=50`);
      assert.ok(performance.now() - began >= 50);
      assert.equal(reply.status, 200);
      assert.equal(reply.body.state, 'ready');
      const held = await app().leased();
      const leased = await app().get(`/tasks/${held.id}?waitMs=1`);
      assert.equal(leased.body.state, 'leased');
      assert.ok(!leased.text.includes(held.token), 'nobody else is shown the token');
    });

    test('an unknown task is 404 at once', async () => {
      assertProblem(await app().get('/tasks/nope?waitMs=60000'), 404, 'task_not_found');
      const { id } = await app().enqueue({ queue: app().newQueue() });
      assertProblem(await app().get(`/tasks/${id}x?waitMs=60000`), 404, 'task_not_found');
    });

    test('an ETag that still holds when the wait runs out answers 304; one that does not, the task', async () => {
      const held = await app().leased();
      const etag = String((await app().get(`/tasks/${held.id}`)).headers.etag);
      const same = await app().get(`/tasks/${held.id}?waitMs=1`, { 'if-none-match': etag });
      assert.deepEqual([same.status, same.text, same.headers.etag], [304, '', etag]);
      const call = await waiting(app(), held.id, { 'if-none-match': etag });
      await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.token });
      const reply = await call.reply;
      assert.equal(reply.status, 200);
      const now = String(reply.headers.etag);
      assert.notEqual(now, etag);
      assert.equal((await app().get(`/tasks/${held.id}?waitMs=60000`, { 'if-none-match': now })).status, 304);
    });

    test('HEAD waits too, and has no body', async () => {
      const { id } = await app().enqueue({ queue: app().newQueue() });
      const reply = await app().call('HEAD', `/tasks/${id}?waitMs=1`);
      assert.deepEqual([reply.status, reply.text], [200, '']);
    });

    test('waits and long-polls count together: one more is 429, while what need not wait is answered', async () => {
      const held = await app().leased();
      const queue = app().newQueue();
      const calls: HttpCall[] = [];
      while (calls.length < MAX_WAITERS / 2) calls.push(await waiting(app(), held.id));
      while (calls.length < MAX_WAITERS) calls.push(await app().park(queue));
      for (const path of [`/tasks/${held.id}?waitMs=1`, `/tasks/lease?queue=${queue}&waitMs=1`]) {
        const reply = await app().get(path);
        assertProblem(reply, 429, 'too_many_waiters');
        assert.match(String(reply.headers['retry-after']), /^\d+$/);
      }
      assert.equal((await app().get(`/tasks/${held.id}`)).status, 200);
      assert.equal((await app().get(`/tasks/lease?queue=${queue}&waitMs=0`)).status, 200);
      assertProblem(await app().get('/tasks/nope?waitMs=1'), 404, 'task_not_found');
      const done = await app().leased();
      await app().post(`/tasks/${done.id}/ack`, { leaseToken: done.token });
      assert.equal((await app().get(`/tasks/${done.id}?waitMs=1`)).body.state, 'completed');
      for (const call of calls) call.hangUp();
      await until(() => app().connections === 0, { what: 'all have gone' });
    });

    test('a client that goes leaves nothing that waits', async () => {
      const { id } = await app().enqueue({ queue: app().newQueue() });
      for (let round = 0; round < 2; round++) {
        const calls: HttpCall[] = [];
        while (calls.length < MAX_WAITERS) calls.push(await waiting(app(), id));
        assertProblem(await app().get(`/tasks/${id}?waitMs=1`), 429, 'too_many_waiters');
        for (const call of calls) call.hangUp();
        await until(() => app().connections === 0, { what: 'all have gone' });
      }
      assert.equal((await app().get(`/tasks/${id}?waitMs=1`)).status, 200);
    });

    test('a client that goes while its task is looked up leaves nothing that waits', async () => {
      const { id } = await app().enqueue({ queue: app().newQueue() });
      const hold = app().watch.hold('reply', 'get');
      const calls = Array.from({ length: MAX_WAITERS }, () => app().begin('GET', `/tasks/${id}?waitMs=60000`));
      await until(() => hold.held === MAX_WAITERS);
      for (const call of calls) call.hangUp();
      await until(() => app().connections === 0, { what: 'all have gone' });
      hold.release();
      await app().watch.quiet();
      assert.equal((await app().get(`/tasks/${id}?waitMs=1`)).status, 200);
    });

    test('no more than may wait get in while their tasks are looked up', async () => {
      const { id } = await app().enqueue({ queue: app().newQueue() });
      const hold = app().watch.hold('reply', 'get');
      const calls = Array.from({ length: MAX_WAITERS + 10 }, () => app().begin('GET', `/tasks/${id}?waitMs=60000`));
      await until(() => hold.held === MAX_WAITERS + 10);
      hold.release();
      let refused = 0;
      const replies = calls.map(async ({ reply }) => {
        const { status } = await reply;
        if (status === 429) refused++;
        return status;
      });
      await until(() => refused === 10, { what: 'those beyond the bound are refused' });
      await app().post(`/tasks/${id}/cancel`);
      const statuses = await Promise.all(replies);
      assert.equal(statuses.filter((status) => status === 200).length, MAX_WAITERS);
    });

    test('a broker that drains answers the task as it is, at once', async () => {
      const other = await another();
      try {
        const { id } = await other.enqueue({ queue: other.newQueue() });
        const calls = [await waiting(other, id), await waiting(other, id)];
        other.broker.drain();
        for (const call of calls) {
          const reply = await call.reply;
          assert.deepEqual([reply.status, reply.body.state], [200, 'ready']);
        }
        assert.equal((await other.get(`/tasks/${id}?waitMs=60000`)).body.state, 'ready');
      } finally {
        await other.stop();
      }
    });
  });
});
