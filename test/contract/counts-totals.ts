import assert from 'node:assert/strict';
import { TASK_STATES } from '../../src/domain/task.ts';
import { ackOf, held, nackOf, releaseOf, type Theme, type Workbench } from './workbench.ts';

/** What is counted agrees with what is listed. */
async function census(bench: Workbench, queue = 'q'): Promise<void> {
  const { counts } = await bench.queue(queue);
  const tasks = await bench.list({ queue });
  for (const state of TASK_STATES) {
    assert.equal(counts[state], tasks.filter((task) => task.state === state).length, state);
    assert.equal((await bench.list({ queue, state })).length, counts[state], state);
  }
}

export const countsTotals: Theme = {
  name: 'counts and totals',
  rules(rule) {
    rule('every state is counted', async (bench) => {
      await bench.oneOfEach();
      const { counts } = await bench.queue();
      assert.deepEqual(counts, {
        ...{ scheduled: 1, ready: 1, blocked: 0, leased: 1, completed: 1, dead: 1, cancelled: 1, expired: 1 },
      });
      await census(bench);
    });

    rule('counts agree with a census after every step of a busy life', async (bench) => {
      await bench.putAll([
        ...[{}, {}, {}, {}, {}, { maxAttempts: 1 }, { maxAttempts: 1 }],
        ...[{ ttlMs: 500 }, { ttlMs: 500, delayMs: 400 }, { delayMs: 300 }, { leaseMs: 100 }],
      ]);
      await census(bench);
      const grants = await bench.lease({ max: 9 });
      await census(bench);
      const claims = grants.map(held);
      await bench.store.settle(
        claims.slice(0, 6).map((claim, index) => {
          if (index < 2) return ackOf(claim);
          if (index < 4) return nackOf(claim, { delayMs: index === 2 ? 0 : 200 });
          return index === 4 ? releaseOf(claim) : nackOf(claim, { retryable: false });
        }),
      );
      await census(bench);
      await bench.pass(250);
      await census(bench);
      await bench.pass(30_000);
      await census(bench);
      for (const { id } of (await bench.list()).slice(0, 3)) await bench.cancel(id);
      await census(bench);
      for (const { id } of await bench.list()) await bench.store.redrive([id]);
      await census(bench);
      await bench.store.purge('q', 'ready', 2);
      await census(bench);
      await bench.drain();
      await bench.pass(1_000_000);
      await census(bench);
    });

    rule('totals count what happened, once each', async (bench) => {
      const total = async (): Promise<unknown> => (await bench.queue()).totals;
      const zero = { enqueued: 0, leased: 0, acked: 0, nacked: 0, released: 0, expired: 0, dead: 0 };
      await bench.store.configure('q', {}, 'merge');
      assert.deepEqual(await total(), zero);
      await bench.putAll([{}, {}, { delayMs: 1000 }]);
      assert.deepEqual(await total(), { ...zero, enqueued: 3 });
      const [a, b] = await bench.lease({ max: 5 });
      if (!a || !b) throw new Error('two grants');
      assert.deepEqual(await total(), { ...zero, enqueued: 3, leased: 2 });
      await bench.ack(held(a));
      await bench.ack(held(a));
      await bench.nack(held(a));
      assert.deepEqual(await total(), { ...zero, enqueued: 3, leased: 2, acked: 1 });
      await bench.release(held(b));
      await bench.release(held(b));
      assert.deepEqual(await total(), { ...zero, enqueued: 3, leased: 2, acked: 1, released: 1 });
      const c = await bench.take();
      await bench.heartbeat(held(c));
      await bench.nack(held(c), { delayMs: 0 });
      await bench.nack(held(c), { delayMs: 0 });
      const nacked = { enqueued: 3, leased: 3, acked: 1, nacked: 1, released: 1, expired: 0, dead: 0 };
      assert.deepEqual(await total(), nacked);
      await bench.take({ leaseMs: 100 });
      await bench.pass(100);
      assert.deepEqual(await total(), { ...nacked, leased: 4, expired: 1 });
      await bench.nack(held(await bench.take()), { retryable: false });
      assert.deepEqual(await total(), { ...nacked, leased: 5, nacked: 2, expired: 1, dead: 1 });
    });

    rule('a task counts as dead each time it dies', async (bench) => {
      const { id } = await bench.put({ maxAttempts: 1 });
      for (const end of ['nack', 'expiry'] as const) {
        const grant = await bench.take({ leaseMs: 100 });
        if (end === 'nack') await bench.nack(held(grant));
        else await bench.pass(100);
        await bench.redrive(id);
      }
      const { totals } = await bench.queue();
      assert.deepEqual([totals.dead, totals.nacked, totals.expired], [2, 1, 1]);
    });

    rule('ends by ttl and by cancellation are in no total', async (bench) => {
      await bench.put({ ttlMs: 1 });
      const { id } = await bench.put();
      await bench.cancel(id);
      await bench.pass(1);
      assert.deepEqual((await bench.queue()).totals, {
        ...{ enqueued: 2, leased: 0, acked: 0, nacked: 0, released: 0, expired: 0, dead: 0 },
      });
    });

    rule('totals outlive the tasks they count', async (bench) => {
      await bench.oneOfEach();
      const { totals } = await bench.queue();
      for (const state of TASK_STATES) await bench.store.purge('q', state, 1000);
      assert.deepEqual((await bench.queue()).totals, totals);
    });
  },
};
