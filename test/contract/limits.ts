import assert from 'node:assert/strict';
import type { Granted } from '../../src/store/store.ts';
import { held, leaseOf, releaseOf, type Theme, type Workbench } from './workbench.ts';

/** How many tasks a call for many is granted. */
async function granted(bench: Workbench, max = 100): Promise<number> {
  return (await bench.lease({ max })).length;
}

/** What a call is told of its queue's limits. */
async function told(bench: Workbench, max = 1): Promise<Granted['held']> {
  return (await bench.store.lease([leaseOf({ max })])).held;
}

const tasks = (count: number): object[] => Array.from({ length: count }, () => ({}));

export const limits: Theme = {
  name: 'limits of a queue',
  rules(rule) {
    rule('no more tasks are leased at once than maxConcurrency, over any number of calls', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 3 }, 'merge');
      await bench.putAll(tasks(10));
      const { results } = await bench.store.lease([leaseOf({ max: 2 }), leaseOf({ max: 2 }), leaseOf({ max: 2 })]);
      assert.deepEqual(
        results.map((grants) => grants.length),
        [2, 1, 0],
      );
      assert.equal(await granted(bench), 0);
      assert.equal((await bench.queue()).counts.leased, 3);
    });

    rule('each end of a lease makes room for one, whatever it is', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1, maxAttempts: 2 }, 'merge');
      await bench.putAll(tasks(10));
      for (const end of ['ack', 'nack', 'release', 'dead', 'force', 'expiry'] as const) {
        const grant = await bench.take({ leaseMs: 100 });
        assert.equal(await granted(bench), 0, end);
        if (end === 'ack') await bench.ack(held(grant));
        if (end === 'nack') await bench.nack(held(grant), { delayMs: 5000 });
        if (end === 'release') await bench.release(held(grant), { delayMs: 5000 });
        if (end === 'dead') await bench.nack(held(grant), { retryable: false });
        if (end === 'force') await bench.cancel(grant.task.id, { force: true });
        if (end === 'expiry') await bench.pass(100);
      }
      assert.equal(await granted(bench), 1);
    });

    rule('a lease that ran out counts until it is taken back', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1 }, 'merge');
      await bench.putAll(tasks(2));
      await bench.take({ leaseMs: 100 });
      await bench.advance(100);
      assert.equal(await granted(bench), 0);
      await bench.sweep();
      assert.equal(await granted(bench), 1);
    });

    rule('a late heartbeat revives a lease only where there is room for it', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1 }, 'merge');
      const claim = await bench.putAndTake({ leaseMs: 100, priority: 0 });
      await bench.pass(100);
      await bench.put();
      const other = await bench.take();
      assert.deepEqual(await bench.heartbeat(claim), { outcome: 'refused', code: 'lease_lost' });
      await bench.ack(held(other));
      const revived = await bench.heartbeat(claim);
      assert.deepEqual([revived.outcome, revived.outcome === 'settled' && revived.late], ['settled', true]);
      await bench.put();
      assert.equal(await granted(bench), 0);
    });

    rule('a late heartbeat that nobody was before finds its own room', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1 }, 'merge');
      const claim = await bench.putAndTake({ leaseMs: 100 });
      await bench.advance(100);
      assert.equal((await bench.heartbeat(claim)).outcome, 'settled');
      assert.equal((await bench.queue()).counts.leased, 1);
    });

    rule('a late ack makes no room a second time', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1 }, 'merge');
      await bench.putAll([{ priority: 9 }, {}, {}]);
      const late = await bench.take({ leaseMs: 100 });
      await bench.pass(100);
      await bench.cancel((await bench.list({ state: 'ready' }))[1]?.id ?? '');
      await bench.ack(held(late));
      assert.equal(await granted(bench), 1);
      assert.equal(await granted(bench), 0);
    });

    rule('a limit that is lowered takes no lease away, one that is raised or lifted counts at once', async (bench) => {
      await bench.putAll(tasks(10));
      const grants = await bench.lease({ max: 3 });
      await bench.store.configure('q', { maxConcurrency: 2 }, 'merge');
      for (const grant of grants.slice(1)) {
        assert.equal(await granted(bench), 0);
        await bench.ack(held(grant));
      }
      assert.equal(await granted(bench), 1);
      await bench.store.configure('q', { maxConcurrency: 4 }, 'merge');
      assert.equal(await granted(bench), 2);
      await bench.store.configure('q', {}, 'replace');
      assert.equal(await granted(bench), 4);
    });

    rule('the end of a lease says that there is room for a task that is ready', async (bench) => {
      await bench.putAll(tasks(3));
      const settled = async () => {
        const outcome = await bench.ack(held(await bench.take()));
        return outcome.outcome === 'settled' && (outcome.readied ?? null);
      };
      assert.equal(await settled(), null);
      await bench.store.configure('q', { maxConcurrency: 1 }, 'merge');
      assert.equal(await settled(), 'q');
      assert.equal(await settled(), null);
      await bench.putAll(tasks(2));
      const { task } = await bench.take();
      const cancelled = await bench.cancel(task.id, { force: true });
      assert.equal(cancelled.readied, 'q');
    });

    rule('a sweep names the queue in which the end of a lease leaves room', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1, maxAttempts: 1 }, 'merge');
      await bench.putAll(tasks(2));
      await bench.take({ leaseMs: 100 });
      const swept = await bench.pass(100);
      assert.deepEqual([swept.reclaimed, swept.readied], [1, ['q']]);
      assert.equal((await bench.queue()).counts.dead, 1);
    });

    rule('no window that begins with a grant has more than the limit', async (bench) => {
      const rateLimit = { limit: 3, periodMs: 1000 };
      await bench.store.configure('q', { rateLimit }, 'merge');
      await bench.putAll(tasks(1000));
      const start = bench.now();
      const times: number[] = [];
      for (let step = 0; step < 200; step++) {
        const count = await granted(bench, 1 + (step % 5));
        times.push(...Array.from({ length: count }, () => bench.now()));
        await bench.advance(30 + ((step * 37) % 90));
      }
      for (const from of times) {
        const inside = times.filter((at) => at >= from && at < from + rateLimit.periodMs).length;
        assert.ok(inside <= rateLimit.limit, `${inside} from ${from - start} on`);
      }
      const allowed = (3 * (bench.now() - start)) / rateLimit.periodMs;
      assert.ok(times.length > 0.85 * allowed, `${times.length} of ${allowed}`);
    });

    rule('a grant is allowed exactly a period after the one that is the limit before it', async (bench) => {
      await bench.store.configure('q', { rateLimit: { limit: 2, periodMs: 1000 } }, 'merge');
      await bench.putAll(tasks(10));
      assert.equal(await granted(bench, 1), 1);
      await bench.advance(400);
      assert.equal(await granted(bench, 5), 1);
      await bench.advance(599);
      assert.equal(await granted(bench, 5), 0);
      await bench.advance(1);
      assert.equal(await granted(bench, 5), 1);
      await bench.advance(400);
      assert.equal(await granted(bench, 5), 1);
      await bench.advance(10_000);
      assert.equal(await granted(bench, 5), 2);
    });

    rule('what is given back was granted all the same', async (bench) => {
      await bench.store.configure('q', { rateLimit: { limit: 1, periodMs: 1000 } }, 'merge');
      await bench.put();
      await bench.release(held(await bench.take()));
      assert.equal(await granted(bench), 0);
      await bench.advance(1000);
      assert.equal(await granted(bench), 1);
    });

    rule('reviving a lease is no grant, and finding the leases of a request again is none', async (bench) => {
      await bench.store.configure('q', { rateLimit: { limit: 1, periodMs: 1000 } }, 'merge');
      await bench.putAll(tasks(2));
      const [grant] = await bench.lease({ leaseMs: 30_000, requestId: 'r' });
      assert.ok(grant);
      assert.equal((await bench.lease({ requestId: 'r', max: 2 })).length, 1);
      await bench.advance(30_000);
      assert.equal((await bench.heartbeat(held(grant))).outcome, 'settled');
      assert.equal(await granted(bench), 1);
    });

    rule('a changed limit counts what the one before it remembers; one that is lifted forgets', async (bench) => {
      const rate = (limit: number, periodMs: number) =>
        bench.store.configure('q', { rateLimit: { limit, periodMs } }, 'merge');
      await rate(4, 1000);
      await bench.putAll(tasks(50));
      assert.equal(await granted(bench), 4);
      await rate(5, 1000);
      assert.equal(await granted(bench), 1);
      await rate(2, 1000);
      await bench.advance(999);
      assert.equal(await granted(bench), 0);
      await bench.advance(1);
      assert.equal(await granted(bench), 2);
      await rate(3, 2000);
      await bench.advance(1000);
      assert.equal(await granted(bench), 1);
      await bench.store.configure('q', {}, 'replace');
      assert.equal(await granted(bench, 20), 20);
      await rate(2, 2000);
      assert.equal(await granted(bench), 2);
    });

    rule('the largest limit is exact', async (bench) => {
      await bench.store.configure('q', { rateLimit: { limit: 10_000, periodMs: 1000 } }, 'merge');
      for (let batch = 0; batch < 11; batch++) await bench.putAll(tasks(1000));
      let count = 0;
      for (let call = 0; call < 110; call++) count += await granted(bench);
      assert.equal(count, 10_000);
      await bench.advance(1000);
      assert.equal(await granted(bench), 100);
    });

    rule('a call is told when a limit lets go', async (bench) => {
      assert.equal(await told(bench), undefined);
      await bench.putAll(tasks(4));
      assert.equal(await told(bench), undefined);
      await bench.store.configure('q', { maxConcurrency: 2, rateLimit: { limit: 2, periodMs: 1000 } }, 'merge');
      assert.deepEqual(await told(bench), [{ queue: 'q', opensAt: null }]);
      assert.deepEqual(await told(bench), [{ queue: 'q', opensAt: null }]);
      await bench.store.configure('q', { maxConcurrency: 3 }, 'merge');
      await bench.advance(200);
      assert.deepEqual(await told(bench), [{ queue: 'q', opensAt: null }]);
      await bench.store.configure('q', { maxConcurrency: 4 }, 'merge');
      assert.deepEqual(await told(bench), [{ queue: 'q', opensAt: bench.now() + 800 }]);
      assert.equal((await bench.queue()).rateOpensAt, bench.now() + 800);
      await bench.advance(800);
      assert.equal((await bench.queue()).rateOpensAt, null);
      assert.equal(await told(bench), undefined, 'nothing is left that could be held');
    });

    rule('limits are those of their queue alone, and are there when the store is opened again', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 1, rateLimit: { limit: 1, periodMs: 1000 } }, 'merge');
      await bench.putAll(tasks(3));
      await bench.putAll(tasks(3), 'p');
      assert.equal((await bench.lease({ max: 9 }, 'p')).length, 3);
      const grant = await bench.take();
      await bench.reopen();
      assert.equal(await granted(bench), 0);
      await bench.ack(held(grant));
      assert.equal(await granted(bench), 0);
      await bench.advance(1000);
      assert.equal(await granted(bench), 1);
    });

    rule('a queue that is deleted leaves no limit behind', async (bench) => {
      const rateLimit = { limit: 1, periodMs: 100_000 };
      await bench.store.configure('q', { rateLimit }, 'merge');
      await bench.ack(await bench.putAndTake());
      while ((await bench.store.dropQueue('q')) === 'more');
      await bench.store.configure('q', { rateLimit }, 'merge');
      await bench.putAll(tasks(2));
      assert.equal(await granted(bench), 1);
    });

    rule('settles of many at once make room for as many', async (bench) => {
      await bench.store.configure('q', { maxConcurrency: 5 }, 'merge');
      await bench.putAll(tasks(10));
      const grants = await bench.lease({ max: 10 });
      await bench.store.settle(grants.map((grant) => releaseOf(held(grant))));
      assert.equal(await granted(bench), 5);
    });
  },
};
