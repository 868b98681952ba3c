import assert from 'node:assert/strict';
import type { NewTask } from '../../src/domain/task.ts';
import { held, only, type Theme, type Workbench } from './workbench.ts';

/** Tasks that were cancelled one after the other, each in a millisecond of its own. */
async function cancelled(bench: Workbench, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let number = 0; number < count; number++) {
    const { id } = await bench.put();
    await bench.cancel(id);
    await bench.advance(1);
    ids.push(id);
  }
  return ids;
}

const there = async (bench: Workbench, ids: readonly string[]): Promise<boolean[]> =>
  (await bench.store.get(ids)).results.map((task) => task !== null);

export const retention: Theme = {
  name: 'retention',
  rules(rule) {
    rule(
      'by default completed, cancelled and expired tasks are kept for ten minutes, dead ones for thirty days',
      async (bench) => {
        const completed = await bench.putAndTake();
        const dead = await bench.putAndTake();
        const expired = await bench.put({ ttlMs: 1 });
        const gone = await bench.put();
        await bench.ack(completed);
        await bench.nack(dead, { retryable: false });
        await bench.cancel(gone.id);
        await bench.pass(1);
        const ids = [completed.id, gone.id, expired.id, dead.id];
        assert.equal((await bench.pass(599_998)).pruned, 0);
        assert.equal((await bench.pass(1)).pruned, 2);
        assert.deepEqual(await there(bench, ids), [false, false, true, true]);
        assert.equal((await bench.pass(1)).pruned, 1);
        assert.deepEqual(await there(bench, ids), [false, false, false, true]);
        assert.equal((await bench.pass(2_592_000_000 - 600_002)).pruned, 0);
        assert.equal((await bench.pass(1)).pruned, 1);
        assert.deepEqual(await there(bench, ids), [false, false, false, false]);
        const { counts, totals } = await bench.queue();
        assert.deepEqual([counts.completed, counts.cancelled, counts.expired, counts.dead], [0, 0, 0, 0]);
        assert.deepEqual([totals.enqueued, totals.acked, totals.dead], [4, 1, 1]);
        assert.deepEqual(await bench.list(), []);
      },
    );

    rule(
      'what is not kept at all goes at once, also when it ends in the same moment as one that is kept',
      async (bench) => {
        const retention = { completedMs: 0, deadMs: 0 };
        await bench.store.configure('q', { retention }, 'replace');
        const [first, second, kept] = await bench.putAll([{}, {}, { retentionMs: 60_000 }]);
        const grants = await bench.lease({ max: 3 });
        const [a, b, c] = grants.map(held);
        if (!first || !second || !kept || !a || !b || !c) throw new Error('three tasks');
        await bench.ack(b);
        await bench.ack(c);
        await bench.sweep();
        await bench.ack(a);
        await bench.sweep();
        assert.deepEqual(await there(bench, [first.id, second.id, kept.id]), [false, false, true]);
      },
    );

    rule('a pruned task is unknown to every verb', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.ack(claim);
      await bench.pass(600_000);
      const unknown = { outcome: 'refused', code: 'task_not_found' };
      assert.deepEqual(await bench.ack(claim), unknown);
      assert.deepEqual(await bench.cancel(claim.id), unknown);
      assert.deepEqual(only((await bench.store.redrive([claim.id])).results), unknown);
      assert.deepEqual(only((await bench.store.remove([claim.id])).results), unknown);
    });

    rule('more than the queue keeps are pruned, the oldest first, ten seconds after they ended', async (bench) => {
      await bench.store.configure('q', { retention: { completedMax: 2 } }, 'merge');
      const ids = await cancelled(bench, 4);
      assert.equal((await bench.pass(9_995)).pruned, 0);
      assert.equal((await bench.pass(1)).pruned, 1);
      assert.deepEqual(await there(bench, ids), [false, true, true, true]);
      assert.equal((await bench.pass(1)).pruned, 1);
      assert.equal((await bench.pass(10_000)).pruned, 0);
      assert.deepEqual(await there(bench, ids), [false, false, true, true]);
    });

    rule('a task that ends crowds out one that ended long before, at that one’s ten seconds', async (bench) => {
      await bench.store.configure('q', { retention: { completedMax: 1 } }, 'merge');
      const [first = ''] = await cancelled(bench, 1);
      await bench.pass(6_999);
      const [second = ''] = await cancelled(bench, 1);
      await bench.pass(2_998);
      assert.deepEqual(await there(bench, [first, second]), [true, true]);
      assert.equal((await bench.pass(1)).pruned, 1);
      assert.deepEqual(await there(bench, [first, second]), [false, true]);
      await bench.pass(100_000);
      await cancelled(bench, 1);
      assert.equal((await bench.sweep()).pruned, 1);
      assert.deepEqual(await there(bench, [first, second]), [false, false]);
    });

    rule('each state has a number of its own, and dead tasks have none', async (bench) => {
      await bench.store.configure('q', { retention: { completedMax: 1 } }, 'merge');
      for (let round = 0; round < 3; round++) {
        await bench.ack(await bench.putAndTake());
        await bench.nack(await bench.putAndTake(), { retryable: false });
        await bench.cancel((await bench.put()).id);
        await bench.put({ ttlMs: 1 });
        await bench.pass(1);
      }
      await bench.pass(10_000);
      const { counts } = await bench.queue();
      assert.deepEqual([counts.completed, counts.cancelled, counts.expired, counts.dead], [1, 1, 1, 3]);
    });

    rule('a number of none keeps nothing beyond the ten seconds', async (bench) => {
      await bench.store.configure('q', { retention: { completedMax: 0 } }, 'merge');
      const claim = await bench.putAndTake();
      await bench.ack(claim);
      assert.equal((await bench.pass(9999)).pruned, 0);
      const replayed = await bench.ack(claim);
      assert.equal(replayed.outcome === 'settled' && replayed.replayed, true);
      assert.equal((await bench.pass(1)).pruned, 1);
    });

    rule('a change takes effect on what has ended already', async (bench) => {
      const ids = await cancelled(bench, 3);
      await bench.pass(20_000);
      await bench.store.configure('q', { retention: { completedMs: 20_002 } }, 'merge');
      const { pruned } = await bench.sweep();
      assert.equal(pruned, 3 - 1);
      assert.deepEqual(await there(bench, ids), [false, false, true]);
      await bench.store.configure('q', { retention: { completedMs: 40_000 } }, 'merge');
      assert.equal((await bench.pass(10_000)).pruned, 0);
      await bench.store.configure('q', { retention: { completedMax: 0 } }, 'merge');
      assert.equal((await bench.sweep()).pruned, 1);
    });

    rule('a change for the dead takes effect, too', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.nack(claim, { retryable: false });
      await bench.pass(100_000);
      await bench.store.configure('q', { retention: { deadMs: 1000 } }, 'merge');
      assert.equal((await bench.sweep()).pruned, 1);
      assert.equal(await bench.find(claim.id), null);
    });

    rule('a late ack starts the time anew', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000, ttlMs: 500 });
      await bench.pass(1000);
      assert.equal(await bench.state(claim.id), 'expired');
      await bench.pass(500_000);
      await bench.ack(claim);
      assert.equal((await bench.pass(599_999)).pruned, 0);
      assert.equal((await bench.pass(1)).pruned, 1);
    });

    rule('a redrive takes a task out of retention', async (bench) => {
      const { id } = await bench.put();
      await bench.cancel(id);
      await bench.advance(500_000);
      await bench.redrive(id);
      await bench.ack(held(await bench.take()));
      assert.equal((await bench.pass(100_000)).pruned, 0);
      assert.equal((await bench.pass(500_000)).pruned, 1);
    });

    rule('a task is kept for a time of its own after its end, longer or shorter, whatever its state', async (bench) => {
      await bench.store.configure('q', { retention: { completedMs: 1000, deadMs: 2000 } }, 'merge');
      const long = await bench.putAndTake({ retentionMs: 5000 });
      const plain = await bench.putAndTake();
      const short = await bench.put({ retentionMs: 300 });
      const none = await bench.put({ retentionMs: 0 });
      const dead = await bench.putAndTake({ retentionMs: 4000, priority: 9 });
      const expired = await bench.put({ retentionMs: 1500, ttlMs: 100 });
      await bench.ack(long);
      await bench.ack(plain);
      await bench.nack(dead, { retryable: false });
      for (const { id } of [short, none]) await bench.cancel(id);
      const ids = [long.id, plain.id, short.id, none.id, dead.id, expired.id];
      const left = async (ms: number): Promise<string> => {
        await bench.pass(ms);
        return (await there(bench, ids)).map(Number).join('');
      };
      assert.equal(await left(0), '111011');
      assert.equal(await left(100), '111011');
      assert.equal(await left(199), '111011');
      assert.equal(await left(1), '110011');
      assert.equal(await left(700), '100011');
      assert.equal(await left(599), '100011');
      assert.equal(await left(1), '100010');
      assert.equal(await left(2399), '100010');
      assert.equal(await left(1), '100000');
      assert.equal(await left(999), '100000');
      assert.equal(await left(1), '000000');
    });

    rule('a task that is not kept at all is pruned in the step that ends it', async (bench) => {
      const { id } = await bench.put({ retentionMs: 0, ttlMs: 100 });
      const { expired, pruned } = await bench.pass(100);
      assert.deepEqual([expired, pruned, await bench.find(id)], [1, 1, null]);
      await bench.store.configure('q', { retention: { completedMs: 0 } }, 'merge');
      await bench.put({ ttlMs: 100 });
      assert.equal((await bench.pass(100)).pruned, 1);
    });

    rule('what is beyond the number that the queue keeps goes, though it has a time of its own', async (bench) => {
      await bench.store.configure('q', { retention: { completedMax: 2 } }, 'merge');
      const tasks = await bench.putAll([{ retentionMs: 1_000_000 }, {}, { retentionMs: 1_000_000 }, {}]);
      for (const { id } of tasks) {
        await bench.cancel(id);
        await bench.advance(1);
      }
      assert.equal((await bench.pass(9995)).pruned, 0);
      await bench.pass(2);
      const ids = tasks.map(({ id }) => id);
      assert.deepEqual(await there(bench, ids), [false, false, true, true]);
      await bench.pass(600_000);
      assert.deepEqual(await there(bench, ids), [false, false, true, false]);
    });

    rule('tasks that are kept for long are not in the way of the others', async (bench) => {
      await bench.store.configure('q', { retention: { completedMs: 1000 } }, 'merge');
      const end = async (parts: Partial<NewTask>, count: number): Promise<string[]> => {
        const tasks = await bench.putAll(Array.from({ length: count }, () => parts));
        await bench.store.cancel(tasks.map(({ id }) => ({ id, reason: null, force: false })));
        return tasks.map(({ id }) => id);
      };
      const kept = await end({ retentionMs: 50_000 }, 400);
      const first = await end({}, 3);
      await bench.advance(1);
      kept.push(...(await end({ retentionMs: 50_000 }, 200)));
      const second = await end({}, 3);
      assert.equal((await bench.pass(1000)).pruned, 6);
      assert.deepEqual(await there(bench, [...first, ...second]), new Array(6).fill(false));
      assert.deepEqual(
        (await bench.list({ state: 'cancelled' })).map(({ id }) => id),
        kept,
      );
      await bench.store.remove([kept.pop() ?? '', kept.shift() ?? '']);
      await end({}, 2);
      assert.equal((await bench.pass(999)).pruned, 0);
      assert.equal((await bench.pass(1)).pruned, 2);
      await bench.reopen();
      await bench.store.configure('q', { retention: { completedMs: 3000 } }, 'merge');
      await end({}, 2);
      assert.equal((await bench.pass(2999)).pruned, 0);
      assert.equal((await bench.pass(1)).pruned, 2);
      await bench.pass(50_000);
      assert.deepEqual(await bench.list(), []);
    });

    rule('a time of its own starts anew with each end, and ends with a redrive', async (bench) => {
      const { id } = await bench.put({ retentionMs: 1000 });
      await bench.cancel(id);
      await bench.advance(900);
      await bench.redrive(id);
      assert.equal((await bench.pass(1000)).pruned, 0);
      const claim = held(await bench.take());
      await bench.ack(claim);
      assert.equal((await bench.pass(999)).pruned, 0);
      assert.equal((await bench.pass(1)).pruned, 1);
      const late = await bench.putAndTake({ retentionMs: 1000, leaseMs: 100, ttlMs: 50 });
      await bench.pass(100);
      await bench.pass(900);
      await bench.ack(late);
      assert.equal((await bench.pass(999)).pruned, 0);
      assert.equal((await bench.pass(1)).pruned, 1);
    });

    rule('many are pruned in as many steps as it takes', async (bench) => {
      await bench.store.configure('q', { retention: { completedMs: 1000 } }, 'merge');
      for (let round = 0; round < 3; round++) {
        const tasks = await bench.putAll(Array.from({ length: 500 }, () => ({})));
        await bench.store.cancel(tasks.map(({ id }) => ({ id, reason: null, force: false })));
      }
      const keep = await bench.put();
      assert.equal((await bench.pass(1000)).pruned, 1500);
      assert.deepEqual(await bench.list(), [keep]);
    });
  },
};
