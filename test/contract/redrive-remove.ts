import assert from 'node:assert/strict';
import { json, only, type Theme } from './workbench.ts';

export const redriveRemove: Theme = {
  name: 'redrive and remove',
  rules(rule) {
    rule('redrive: what each state answers', async (bench) => {
      const ids = await bench.oneOfEach();
      const answers: Record<string, unknown> = {};
      for (const [state, id] of Object.entries(ids)) {
        const outcome = only((await bench.store.redrive([id])).results);
        answers[state] = outcome.outcome === 'refused' ? outcome.code : outcome.task.state;
      }
      assert.deepEqual(answers, {
        ...{ scheduled: 'not_redrivable', ready: 'not_redrivable', leased: 'not_redrivable' },
        ...{ completed: 'not_redrivable', dead: 'ready', cancelled: 'ready', expired: 'ready' },
      });
      assert.deepEqual((await bench.store.redrive(['never'])).results, [
        { outcome: 'refused', code: 'task_not_found' },
      ]);
    });

    rule('a redriven task starts anew, but keeps what is known of it', async (bench) => {
      const claim = await bench.putAndTake({ ttlMs: 50_000, payload: json([1]) });
      await bench.heartbeat(claim, { progress: json(1), checkpoint: json(2) });
      await bench.cancel(claim.id, { reason: 'stop' });
      await bench.nack(claim, { error: { code: 'x', message: null, details: null } });
      const before = await bench.get(claim.id);
      assert.deepEqual([before.state, before.cancelRequested], ['cancelled', true]);
      await bench.advance(77);
      const after = await bench.redrive(claim.id);
      assert.deepEqual(after, {
        ...before,
        ...{ state: 'ready', attempt: 0, expiresAt: null, finishedAt: null, cancelRequested: false },
        runAt: bench.now(),
      });
      assert.deepEqual(await bench.get(claim.id), after);
      const { task } = await bench.take();
      assert.deepEqual([task.attempt, task.deliveries, task.checkpoint], [1, 2, '2']);
    });

    rule('a redriven task has all its attempts', async (bench) => {
      const { id } = await bench.put({ maxAttempts: 2 });
      for (let round = 0; round < 2; round++) {
        for (const expected of ['ready', 'dead']) {
          const { token } = await bench.take();
          const outcome = await bench.nack({ id, token }, { delayMs: 0 });
          assert.equal(outcome.outcome === 'settled' && outcome.state, expected);
        }
        await bench.redrive(id);
      }
      assert.equal((await bench.queue()).totals.dead, 2);
    });

    rule('a task that expired is not expired again after its redrive', async (bench) => {
      const { id } = await bench.put({ ttlMs: 10 });
      await bench.pass(10);
      await bench.redrive(id);
      await bench.pass(1_000_000);
      assert.equal((await bench.take()).task.id, id);
    });

    rule('a redriven task is not pruned for having been finished once', async (bench) => {
      const { id } = await bench.put();
      await bench.cancel(id);
      await bench.redrive(id);
      assert.equal((await bench.pass(600_000)).pruned, 0);
      assert.equal(await bench.state(id), 'ready');
      assert.deepEqual(await bench.list({ state: 'cancelled' }), []);
    });

    rule('one redrive twice in a call counts once', async (bench) => {
      const { id } = await bench.put();
      await bench.cancel(id);
      const { results } = await bench.store.redrive([id, id]);
      assert.deepEqual(
        results.map(({ outcome }) => outcome),
        ['redriven', 'refused'],
      );
      assert.deepEqual(await bench.drain(), [id]);
    });

    rule('a lease that ran out unnoticed is not yet dead for a redrive', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 100, maxAttempts: 1 });
      await bench.advance(100);
      assert.deepEqual((await bench.store.redrive([claim.id])).results, [
        { outcome: 'refused', code: 'not_redrivable' },
      ]);
      assert.equal(await bench.state(claim.id), 'leased');
    });

    rule('remove: only what has ended, and then it is gone', async (bench) => {
      const ids = await bench.oneOfEach();
      const answers: Record<string, unknown> = {};
      for (const [state, id] of Object.entries(ids)) {
        const outcome = only((await bench.store.remove([id])).results);
        answers[state] = outcome.outcome === 'refused' ? outcome.code : outcome.outcome;
        assert.equal((await bench.find(id)) === null, outcome.outcome === 'removed');
      }
      assert.deepEqual(answers, {
        ...{ scheduled: 'task_active', ready: 'task_active', leased: 'task_active' },
        ...{ completed: 'removed', dead: 'removed', cancelled: 'removed', expired: 'removed' },
      });
      assert.deepEqual((await bench.store.remove([ids.dead])).results, [
        { outcome: 'refused', code: 'task_not_found' },
      ]);
      const { counts } = await bench.queue();
      assert.deepEqual(
        [
          counts.completed,
          counts.dead,
          counts.cancelled,
          counts.expired,
          counts.scheduled,
          counts.ready,
          counts.leased,
        ],
        [0, 0, 0, 0, 1, 1, 1],
      );
      assert.equal((await bench.list()).length, 3);
    });
  },
};
