import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertInvalid, onEveryStore } from './api-app.ts';

describe('groups', () => {
  onEveryStore((app) => {
    const set = (queue: string, groups: object) => app().call('PUT', `/queues/${queue}`, { body: { groups } });
    /** Posts a task for each letter, which is its group. */
    const post = async (queue: string, letters: string) => {
      const tasks = [...letters].map((groupKey, index) => ({ queue, groupKey, payload: index }));
      return (await app().post('/tasks/batch', { tasks })).body.tasks;
    };

    test('a task says its group, and is blocked while another one of it is before it', async () => {
      const queue = app().newQueue();
      const [first, second] = await post(queue, 'gg');
      assert.deepEqual([first.groupKey, first.state, second.state], ['g', 'ready', 'blocked']);
      const { body } = await app().get(`/queues/${queue}/stats`);
      assert.deepEqual([body.ready, body.blocked, body.backlog], [1, 1, 1]);
      assert.equal((await app().get(`/tasks?queue=${queue}&state=blocked`)).body.tasks[0].id, second.id);
      const [granted] = await app().lease(queue, '&max=5');
      assert.equal(granted.groupKey, 'g');
      assert.equal((await app().get(`/queues/${queue}`)).body.why, 'concurrency');
      const acked = await app().post(`/tasks/${first.id}/ack`, {
        leaseToken: granted.lease.token,
        leaseNext: { max: 5 },
      });
      assert.deepEqual(
        acked.body.next.map(({ id }) => id),
        [second.id],
      );
    });

    test('a long-poll is served by the end of the task that is before', async () => {
      const queue = app().newQueue();
      const [, second] = await post(queue, 'gg');
      for (const end of ['ack', 'nack', 'cancel'] as const) {
        const [held] = await app().lease(queue);
        const poll = await app().park(queue);
        if (end === 'cancel') await app().post(`/tasks/${held.id}/cancel`, { force: true });
        else await app().post(`/tasks/${held.id}/${end}`, { leaseToken: held.lease.token, ...finalOf(end) });
        const { body } = await poll.reply;
        assert.equal(body.tasks.length, 1, end);
        if (end === 'ack') assert.equal(body.tasks[0].id, second.id);
        await app().post(`/tasks/${body.tasks[0].id}/ack`, { leaseToken: body.tasks[0].lease.token });
        await post(queue, 'gg');
      }
    });

    test('`why` tells of a head that backs off', async () => {
      const queue = app().newQueue();
      await post(queue, 'gg');
      const [held] = await app().lease(queue);
      const { body } = await app().post(`/tasks/${held.id}/nack`, { leaseToken: held.lease.token, delayMs: 5000 });
      assert.equal((await app().get(`/queues/${queue}`)).body.why, `scheduled until ${body.runAt}`);
    });

    test('`why` tells of a head that backs off, and not of a lease that frees nobody', async () => {
      const queue = app().newQueue();
      await post(queue, 'aab');
      const [held, other] = await app().lease(queue, '&max=2');
      assert.deepEqual([held.groupKey, other.groupKey], ['a', 'b']);
      const { body } = await app().post(`/tasks/${held.id}/nack`, { leaseToken: held.lease.token, delayMs: 5000 });
      assert.equal((await app().get(`/queues/${queue}`)).body.why, `scheduled until ${body.runAt}`);
      await post(queue, 'b');
      assert.equal((await app().get(`/queues/${queue}`)).body.why, 'concurrency');
    });

    test('the configuration is shown whole, changed by its parts, and validated', async () => {
      const queue = app().newQueue();
      const made = await app().call('PUT', `/queues/${queue}`, { body: {} });
      assert.deepEqual(made.body.config.groups, { maxConcurrency: 1, ordering: 'strict' });
      assert.deepEqual((await set(queue, { ordering: 'relaxed' })).body.config.groups, {
        maxConcurrency: 1,
        ordering: 'relaxed',
      });
      const patched = await app().call('PATCH', `/queues/${queue}`, { body: { groups: { maxConcurrency: 3 } } });
      assert.deepEqual(patched.body.settings, { groups: { maxConcurrency: 3, ordering: 'relaxed' } });
      assertInvalid(await set(queue, { maxConcurrency: 0 }), '/groups/maxConcurrency');
      assertInvalid(
        await set(queue, { maxConcurrency: 1001, ordering: 'fifo' }),
        '/groups/maxConcurrency',
        '/groups/ordering',
      );
      assertInvalid(await set(queue, { order: 'strict' }), '/groups/order');
      assertInvalid(await app().post('/tasks', { groupKey: '' }), '/groupKey');
      assertInvalid(await app().post('/tasks', { groupKey: 'x'.repeat(256) }), '/groupKey');
    });

    test('a purge of what waits leaves nobody behind, and one of the heads lets the next ones come', async () => {
      const queue = app().newQueue();
      await post(queue, 'ggghhh');
      const purge = (states: string[]) => app().post(`/queues/${queue}/purge`, { states });
      assert.deepEqual((await purge(['ready'])).body.purged, { ready: 2 });
      assert.deepEqual((await purge(['ready', 'blocked'])).body.purged, { ready: 2, blocked: 2 });
      await post(queue, 'gg');
      assert.equal((await app().call('DELETE', `/queues/${queue}?force=true`)).status, 204);
    });

    test('one group with very many tasks does not starve others', async () => {
      const queue = app().newQueue();
      for (let batch = 0; batch < 5; batch++) await post(queue, 'a'.repeat(1000));
      await post(queue, 'bcdefghij'.repeat(20));
      let others = 0;
      for (let lease = 0; lease < 200; lease++) {
        const [held] = await app().lease(queue);
        if (held.groupKey !== 'a') others++;
        await app().post(`/tasks/${held.id}/ack`, { leaseToken: held.lease.token });
      }
      assert.equal(others, 180);
    });
  });
});

/** Such that the task does not come back. */
function finalOf(end: 'ack' | 'nack'): object {
  return end === 'nack' ? { retryable: false } : {};
}
