import assert from 'node:assert/strict';
import type { QueueRecord } from '../../src/store/store.ts';
import type { TaskRecord } from '../../src/domain/task.ts';
import { held, json, type Theme, type Workbench } from './workbench.ts';

async function everything(bench: Workbench): Promise<{ tasks: TaskRecord[]; queue: QueueRecord }> {
  return { tasks: await bench.list(), queue: await bench.queue() };
}

export const persistence: Theme = {
  name: 'a store that is closed and opened again',
  rules(rule) {
    rule('has every task, count, total, setting and pause', async (bench) => {
      await bench.oneOfEach();
      await bench.store.configure('q', { leaseMs: 77, backoff: { baseMs: 9 } }, 'merge');
      await bench.store.setPaused('q', true);
      const before = await everything(bench);
      await bench.reopen();
      assert.deepEqual(await everything(bench), before);
    });

    rule('keeps its lines, its leases and their tokens', async (bench) => {
      const tasks = await bench.putAll([{ payload: json('a') }, { priority: 9 }, {}, {}]);
      const [first, second] = await bench.lease({ max: 2, leaseMs: 1000 });
      if (!first || !second) throw new Error('two grants');
      await bench.reopen();
      assert.equal((await bench.ack(held(first), { result: json(1) })).outcome, 'settled');
      await bench.pass(1000);
      await bench.reopen();
      const late = await bench.put();
      assert.deepEqual(await bench.drain(), [second.task.id, tasks[2]?.id, tasks[3]?.id, late.id]);
    });

    rule('knows its idempotency keys and first outcomes', async (bench) => {
      const idempotency = { key: 'k', fingerprint: 'f' };
      const { id } = await bench.put({ idempotency });
      const grant = await bench.take();
      const first = await bench.nack(held(grant), { delayMs: 500 });
      await bench.reopen();
      assert.deepEqual(await bench.nack(held(grant)), { ...first, replayed: true });
      const again = await bench.enqueue([bench.task({ idempotency })]);
      const task = await bench.get(id);
      assert.deepEqual(again, { outcome: 'stored', tasks: [{ task, replayed: true, deduplicated: false }] });
    });

    rule('sweeps what fell due while it was closed', async (bench) => {
      const leased = await bench.putAndTake({ leaseMs: 100 });
      await bench.put({ delayMs: 100 });
      await bench.advance(1000);
      await bench.reopen();
      const swept = await bench.sweep();
      assert.deepEqual([swept.promoted, swept.reclaimed, swept.readied], [1, 1, ['q']]);
      assert.equal(await bench.state(leased.id), 'ready');
    });

    rule('works: its check does what a task goes through', async (bench) => {
      await bench.store.check();
      await bench.reopen();
      await bench.store.check();
      assert.deepEqual((await bench.store.queues({ after: null, limit: 10 })).queues, []);
      const { product, location, durability, note } = await bench.store.describe();
      for (const words of [product, location, durability, note]) assert.notEqual(words, '');
    });
  },
};
