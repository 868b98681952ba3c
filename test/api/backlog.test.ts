import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertProblem, countsOf, many, onEveryStore } from './api-app.ts';

describe('maxBacklog', () => {
  onEveryStore((app) => {
    test('answers 429 with Retry-After when the queue is full, and 201 when there is room again', async () => {
      const queue = app().newQueue();
      const made = await app().call('PUT', `/queues/${queue}`, { body: { maxBacklog: 2 } });
      assert.equal(made.body.config.maxBacklog, 2);
      await app().enqueue({ queue });
      const { id } = await app().enqueue({ queue, delayMs: 60_000 });
      const refused = await app().post('/tasks', { queue });
      assertProblem(refused, 429, 'queue_full');
      assert.equal(refused.headers['retry-after'], '1');
      await app().post(`/tasks/${id}/cancel`);
      await app().enqueue({ queue });
    });

    test('refuses a whole batch, for several queues too', async () => {
      const [queue, other] = [app().newQueue(), app().newQueue()];
      await app().call('PUT', `/queues/${queue}`, { body: { maxBacklog: 2 } });
      assertProblem(await app().post('/tasks/batch', { tasks: many(3, { queue }) }), 429, 'queue_full');
      const mixed = [{ queue: other }, ...many(3, { queue })];
      assertProblem(await app().post('/tasks/batch', { tasks: mixed }), 429, 'queue_full');
      assert.equal((await app().get(`/queues/${other}`)).status, 404);
      assert.equal((await countsOf(app(), queue)).ready, 0);
      assert.equal((await app().post('/tasks/batch', { tasks: mixed.slice(0, 3) })).status, 201);
    });

    test('answers a repeated Idempotency-Key and a unique key that is held even then', async () => {
      const queue = app().newQueue();
      const task = { queue, unique: { key: 'u' } };
      const headers = { 'idempotency-key': 'full-1' };
      const first = await app().post('/tasks', task, headers);
      await app().call('PATCH', `/queues/${queue}`, { body: { maxBacklog: 0 } });
      assert.equal((await app().post('/tasks', task, headers)).body.id, first.body.id);
      assert.equal((await app().post('/tasks', task)).body.deduplicated, true);
      assertProblem(await app().post('/tasks', { queue }), 429, 'queue_full');
    });
  });
});
