import assert from 'node:assert/strict';
import { held, type Theme } from './workbench.ts';

export const sweep: Theme = {
  name: 'sweep',
  rules(rule) {
    rule('an empty store has nothing due', async (bench) => {
      const report = await bench.store.sweep();
      assert.deepEqual(report, {
        ...{ now: bench.now(), dueAt: report.dueAt, promoted: 0, reclaimed: 0, expired: 0, pruned: 0, readied: [] },
      });
      assert.ok(report.dueAt === null || report.dueAt > bench.now());
    });

    rule('a scheduled task is promoted when its time has come, not before', async (bench) => {
      const { id } = await bench.put({ delayMs: 1000 });
      const early = await bench.pass(999);
      assert.deepEqual([early.promoted, early.dueAt], [0, bench.now() + 1]);
      assert.deepEqual(await bench.lease(), []);
      const swept = await bench.pass(1);
      assert.deepEqual([swept.promoted, swept.readied], [1, ['q']]);
      const task = await bench.get(id);
      assert.deepEqual([task.state, task.runAt], ['ready', bench.now()]);
    });

    rule('runAt stays what it was when a task is promoted late', async (bench) => {
      const { id, runAt } = await bench.put({ delayMs: 1000 });
      await bench.pass(5000);
      assert.equal((await bench.get(id)).runAt, runAt);
    });

    rule('a lease is taken back at its deadline, not before', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      const early = await bench.pass(999);
      assert.deepEqual([early.reclaimed, early.dueAt], [0, bench.now() + 1]);
      const swept = await bench.pass(1);
      assert.deepEqual([swept.reclaimed, swept.readied], [1, ['q']]);
      assert.deepEqual(await bench.get(claim.id), {
        ...claim.task,
        ...{ state: 'ready', lease: null },
        lastError: {
          ...{ code: 'lease_expired', message: 'The lease ran out before the worker settled it.', details: null },
          ...{ attempt: 1, at: bench.now() },
        },
      });
    });

    rule('the lease of a last attempt leaves the task dead', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000, maxAttempts: 1 });
      const swept = await bench.pass(1000);
      assert.deepEqual([swept.reclaimed, swept.readied], [1, []]);
      const { state, finishedAt } = await bench.get(claim.id);
      assert.deepEqual([state, finishedAt], ['dead', bench.now()]);
      const { totals, counts } = await bench.queue();
      assert.deepEqual([totals.dead, totals.expired, counts.dead, counts.leased], [1, 1, 1, 0]);
    });

    rule('a lease that was extended is not taken back at its old deadline', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      await bench.advance(500);
      await bench.heartbeat(claim);
      assert.equal((await bench.pass(999)).reclaimed, 0);
      assert.equal((await bench.pass(1)).reclaimed, 1);
    });

    rule('what is swept once is not swept again', async (bench) => {
      await bench.putAll([{ delayMs: 10 }, { ttlMs: 10 }]);
      await bench.pass(10);
      const again = await bench.sweep();
      assert.deepEqual([again.promoted, again.expired, again.reclaimed, again.readied], [0, 0, 0, []]);
    });

    rule('many at once, in many queues: everything that is due, and it says so until nothing is', async (bench) => {
      const queues = Array.from({ length: 12 }, (_, number) => `queue-${number}`);
      for (const queue of queues) {
        await bench.putAll(
          Array.from({ length: 25 }, () => ({ leaseMs: 500 })),
          queue,
        );
        await bench.lease({ max: 25 }, queue);
        await bench.putAll(
          Array.from({ length: 25 }, (_, number) => ({ delayMs: 1 + number })),
          queue,
        );
      }
      await bench.putAll(Array.from({ length: 1000 }, () => ({ delayMs: 100 })));
      const swept = await bench.pass(1000);
      assert.deepEqual([swept.promoted, swept.reclaimed], [1300, 300]);
      assert.deepEqual(swept.readied, [...queues, 'q'].sort());
      for (const queue of queues) assert.equal((await bench.queue(queue)).counts.ready, 50);
      assert.equal((await bench.drain()).length, 1000);
    });

    rule('a paused queue is swept like any other', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 100 });
      await bench.put({ delayMs: 100 });
      await bench.store.setPaused('q', true);
      const swept = await bench.pass(100);
      assert.deepEqual([swept.promoted, swept.reclaimed], [1, 1]);
      assert.equal(await bench.state(claim.id), 'ready');
    });

    rule('it says when the next thing is due, the earliest of all', async (bench) => {
      await bench.put({ delayMs: 5000 }, 'a');
      await bench.put({ ttlMs: 3000 }, 'b');
      await bench.putAndTake({ leaseMs: 4000 }, 'c');
      assert.equal((await bench.sweep()).dueAt, bench.now() + 3000);
      assert.equal((await bench.pass(3000)).dueAt, bench.now() + 1000);
      assert.equal((await bench.pass(1000)).dueAt, bench.now() + 1000);
    });

    rule('a settle moves what is due: no early work, no forgotten work', async (bench) => {
      await bench.putAll([{}, {}]);
      const [first, second] = await bench.lease({ max: 2, leaseMs: 1000 });
      if (!first || !second) throw new Error('two grants');
      await bench.ack(held(first));
      await bench.nack(held(second), { delayMs: 2000 });
      const swept = await bench.pass(1999);
      assert.deepEqual([swept.reclaimed, swept.promoted, swept.dueAt], [0, 0, bench.now() + 1]);
      assert.equal((await bench.pass(1)).promoted, 1);
    });
  },
};
