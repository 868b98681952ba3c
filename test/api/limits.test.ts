import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { many, onEveryStore } from './api-app.ts';

describe('limits of a queue', () => {
  onEveryStore((app) => {
    const why = async (queue: string) => (await app().get(`/queues/${queue}`)).body.why;
    const set = (queue: string, body: object) => app().call('PATCH', `/queues/${queue}`, { body });

    test('are shown as set, as null otherwise, and counted from leases', async () => {
      const queue = app().newQueue();
      const made = await app().call('PUT', `/queues/${queue}`, { body: {} });
      assert.deepEqual([made.body.config.maxConcurrency, made.body.config.rateLimit], [null, null]);
      const rateLimit = { limit: 100, periodMs: 1000 };
      const changed = await set(queue, { maxConcurrency: 2, rateLimit });
      assert.deepEqual([changed.body.config.maxConcurrency, changed.body.config.rateLimit], [2, rateLimit]);
      assert.deepEqual(changed.body.settings, { maxConcurrency: 2, rateLimit });
      await app().post('/tasks/batch', { tasks: many(3, { queue }) });
      const [first] = await app().lease(queue, '&max=10');
      assert.equal((await app().lease(queue, '&max=10')).length, 0);
      const acked = await app().post(`/tasks/${first.id}/ack`, {
        leaseToken: first.lease.token,
        leaseNext: { max: 5 },
      });
      assert.equal(acked.body.next.length, 1);
    });

    test('`why` says what keeps tasks from being leased, the first thing that has to be seen to', async () => {
      const queue = app().newQueue();
      await app().call('PUT', `/queues/${queue}`, { body: {} });
      assert.equal(await why(queue), null);
      const { runAt } = await app().enqueue({ queue, delayMs: 5000 });
      assert.equal(await why(queue), `scheduled until ${runAt}`);
      await app().post('/tasks/batch', { tasks: many(3, { queue }) });
      assert.equal(await why(queue), 'no workers');
      await app().post(`/queues/${queue}/pause`);
      assert.equal(await why(queue), 'paused');
      await app().post(`/queues/${queue}/resume`);
      await app().lease(queue);
      assert.equal(await why(queue), null);
      await set(queue, { rateLimit: { limit: 1, periodMs: 60_000 } });
      assert.equal(await why(queue), null);
      await app().lease(queue);
      assert.equal(await why(queue), 'rate');
      await set(queue, { maxConcurrency: 2 });
      assert.equal(await why(queue), 'concurrency');
      await set(queue, { maxConcurrency: 3 });
      await app().advance(60_000);
      assert.notEqual(await why(queue), 'rate');
    });
  });
});
