import assert from 'node:assert/strict';
import { held, type Theme } from './workbench.ts';

export const ttl: Theme = {
  name: 'ttl',
  rules(rule) {
    rule('no lease is granted at or after the ttl, swept or not', async (bench) => {
      const tasks = await bench.putAll([{ ttlMs: 100 }, { ttlMs: 101 }, {}]);
      await bench.advance(100);
      assert.deepEqual(await bench.drain(), [tasks[1]?.id, tasks[2]?.id]);
      const { state, finishedAt, attempt, deliveries, lastError } = await bench.get(tasks[0]?.id ?? '');
      assert.deepEqual([state, finishedAt], ['expired', bench.now()]);
      assert.deepEqual([attempt, deliveries, lastError], [0, 0, null]);
    });

    rule('tasks past their ttl do not count as granted', async (bench) => {
      await bench.putAll([...Array.from({ length: 30 }, () => ({ ttlMs: 10 })), {}, {}]);
      await bench.advance(10);
      assert.equal((await bench.lease({ max: 2 })).length, 2);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.expired, counts.leased, totals.leased, totals.expired], [30, 2, 2, 0]);
    });

    rule('the sweep expires ready and scheduled tasks alike', async (bench) => {
      const ready = await bench.put({ ttlMs: 100 });
      const scheduled = await bench.put({ ttlMs: 100, delayMs: 5000 });
      assert.equal((await bench.pass(99)).expired, 0);
      const swept = await bench.pass(1);
      assert.deepEqual([swept.expired, swept.promoted, swept.readied], [2, 0, []]);
      for (const { id } of [ready, scheduled]) {
        const task = await bench.get(id);
        assert.deepEqual([task.state, task.finishedAt], ['expired', bench.now()]);
      }
      assert.equal((await bench.queue()).nextRunAt, null);
      assert.equal((await bench.pass(5000)).promoted, 0);
    });

    rule('a task due when its ttl has passed is expired, not ready', async (bench) => {
      const { id } = await bench.put({ ttlMs: 100, delayMs: 50 });
      await bench.advance(100);
      const swept = await bench.sweep();
      assert.deepEqual([swept.promoted, swept.expired, swept.readied], [0, 1, []]);
      assert.equal(await bench.state(id), 'expired');
    });

    rule('the ttl counts on while a task waits for a retry', async (bench) => {
      const claim = await bench.putAndTake({ ttlMs: 1000 });
      await bench.nack(claim, { delayMs: 5000 });
      await bench.pass(1000);
      assert.equal(await bench.state(claim.id), 'expired');
    });

    rule('a nack or a release after the ttl expires the task', async (bench) => {
      for (const end of ['nack', 'release'] as const) {
        const claim = await bench.putAndTake({ ttlMs: 1000 });
        await bench.advance(1000);
        const outcome = await bench[end](claim);
        assert.deepEqual(outcome.outcome === 'settled' && [outcome.state, outcome.late], ['expired', false]);
        assert.equal((await bench.get(claim.id)).finishedAt, bench.now());
      }
      const { totals } = await bench.queue();
      assert.deepEqual([totals.nacked, totals.released, totals.expired, totals.dead], [1, 1, 0, 0]);
    });

    rule('a task that goes back to its line keeps its ttl', async (bench) => {
      for (const delayMs of [0, 100]) {
        const { id } = await bench.put({ ttlMs: 1000 });
        await bench.nack(held(await bench.take()), { delayMs });
        await bench.pass(100);
        assert.equal(await bench.state(id), 'ready');
        assert.equal((await bench.pass(900)).expired, 1);
        assert.equal(await bench.state(id), 'expired');
      }
    });
  },
};
