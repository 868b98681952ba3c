import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from '../support/until.ts';
import { assertInvalid, assertProblem, onEveryStore } from './api-app.ts';

describe('unique tasks', () => {
  onEveryStore((app) => {
    test('a second one is answered 200 with the first and "deduplicated"', async () => {
      const queue = app().newQueue();
      const first = await app().post('/tasks', { queue, unique: { key: 'order-17' } });
      assert.equal(first.status, 201);
      assert.equal(first.body.uniqueKey, 'order-17');
      assert.equal('deduplicated' in first.body, false);
      const second = await app().post('/tasks', { queue, unique: { key: 'order-17' } });
      assert.equal(second.status, 200);
      assert.equal(second.headers.location, `/tasks/${first.body.id}`);
      assert.equal(second.headers['idempotency-replayed'], undefined);
      assert.deepEqual(second.body, { ...first.body, deduplicated: true });
      assert.ok(!('deduplicated' in (await app().get(`/tasks/${first.body.id}`)).body));
    });

    test('is refused with 409 where it asks for that, by pointer in a batch, and nothing is stored', async () => {
      const [queue, other] = [app().newQueue(), app().newQueue()];
      const unique = { key: 'k', onConflict: 'reject' };
      await app().enqueue({ queue, unique });
      const refused = await app().post('/tasks', { queue, unique });
      assert.deepEqual(
        assertProblem(refused, 409, 'unique_conflict').map(({ pointer }) => pointer),
        ['/unique'],
      );
      const batch = await app().post('/tasks/batch', { tasks: [{ queue: other }, { queue }, { queue, unique }] });
      assert.deepEqual(
        assertProblem(batch, 409, 'unique_conflict').map(({ pointer }) => pointer),
        ['/tasks/2/unique'],
      );
      assert.equal((await app().get(`/queues/${other}`)).status, 404);
      assert.equal((await app().get(`/queues/${queue}/stats`)).body.ready, 1);
    });

    test('replaces the one that waits, whose end is told to whoever waits for it', async () => {
      const queue = app().newQueue();
      const first = await app().enqueue({ queue, unique: { key: 'k' } });
      const calls = app().watch.replies('get');
      const end = app().call('GET', `/tasks/${first.id}?waitMs=60000`);
      // It is read when the wait begins, and once more when it is known to be waited for.
      await until(() => app().watch.replies('get') >= calls + 2, { what: 'the wait has begun' });
      const next = await app().post('/tasks', { queue, unique: { key: 'k', onConflict: 'replace' } });
      assert.equal(next.status, 201);
      const { body } = await end;
      assert.equal(body.state, 'cancelled');
      assert.equal(body.lastError.message, `Replaced by task ${next.body.id}`);
    });

    test('in a batch each entry says what became of it', async () => {
      const queue = app().newQueue();
      const tasks = [{ queue, unique: { key: 'k' } }, { queue, unique: { key: 'k' } }, { queue }];
      const { status, body } = await app().post('/tasks/batch', { tasks });
      assert.equal(status, 201);
      assert.equal(body.tasks[1].id, body.tasks[0].id);
      assert.deepEqual(
        [0, 1, 2].map((at) => 'deduplicated' in (body.tasks[at] ?? {})),
        [false, true, false],
      );
    });

    test('a repeated Idempotency-Key is answered before the key is looked at', async () => {
      const task = { queue: app().newQueue(), unique: { key: 'k', onConflict: 'reject' } };
      const headers = { 'idempotency-key': 'i-1' };
      const first = await app().post('/tasks', task, headers);
      const again = await app().post('/tasks', task, headers);
      assert.deepEqual([again.status, again.headers['idempotency-replayed']], [200, 'true']);
      assert.deepEqual(again.body, first.body);
      const other = { ...task, unique: { key: 'k', until: 'started', onConflict: 'reject' } };
      assertProblem(await app().post('/tasks', other, headers), 422, 'idempotency_key_reused');
    });

    test('is not redriven while another one holds its key', async () => {
      const queue = app().newQueue();
      const { id } = await app().enqueue({ queue, unique: { key: 'k' } });
      await app().post(`/tasks/${id}/cancel`);
      const { id: next } = await app().enqueue({ queue, unique: { key: 'k' } });
      assertProblem(await app().post(`/tasks/${id}/redrive`), 409, 'unique_conflict');
      await app().post(`/tasks/${next}/cancel`);
      assert.equal((await app().post(`/tasks/${id}/redrive`)).body.state, 'ready');
    });

    test('says what is wrong with what it is asked', async () => {
      const bad = (unique: unknown) => app().post('/tasks', { unique });
      assertInvalid(await bad({}), '/unique/key');
      assertInvalid(await bad({ key: '' }), '/unique/key');
      assertInvalid(await bad({ key: 'x'.repeat(256) }), '/unique/key');
      assertInvalid(await bad({ key: 'k', until: 'ttl' }), '/unique/ttlMs');
      assertInvalid(await bad({ key: 'k', ttlMs: 1000 }), '/unique/ttlMs');
      assertInvalid(await bad({ key: 'k', until: 'ttl', ttlMs: 0 }), '/unique/ttlMs');
      assertInvalid(
        await bad({ key: 'k', onConflict: 'ignore', until: 'done' }),
        '/unique/onConflict',
        '/unique/until',
      );
      assertInvalid(await bad({ key: 'k', onconflict: 'reject' }), '/unique/onconflict');
      assertInvalid(await bad('k'), '/unique');
      const batch = await app().post('/tasks/batch', { tasks: [{}, { unique: { key: 1 } }] });
      assertInvalid(batch, '/tasks/1/unique/key');
    });
  });
});
