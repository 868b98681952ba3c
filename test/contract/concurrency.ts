import assert from 'node:assert/strict';
import { ackOf, held, json, nackOf, type Theme } from './workbench.ts';

export const concurrency: Theme = {
  name: 'calls at the same time',
  rules(rule) {
    rule('no task is granted twice, and each grant keeps the order of the line', async (bench) => {
      const stored = await bench.putAll(Array.from({ length: 200 }, (_, number) => ({ payload: json(number) })));
      const replies = await Promise.all(Array.from({ length: 50 }, () => bench.lease({ max: 5 })));
      const granted = replies.map((grants) => grants.map(({ task }) => Number(task.payload)));
      for (const numbers of granted) {
        assert.deepEqual(
          numbers,
          [...numbers].sort((a, b) => a - b),
        );
      }
      const sorted = granted.flat().sort((a, b) => a - b);
      assert.deepEqual(
        sorted,
        stored.map((_, number) => number),
      );
      assert.equal((await bench.queue()).totals.leased, 200);
    });

    rule('calls made one after the other are served in that order, awaited or not', async (bench) => {
      await bench.putAll(Array.from({ length: 60 }, (_, number) => ({ payload: json(number) })));
      const replies = await Promise.all(Array.from({ length: 20 }, () => bench.lease({ max: 3 })));
      assert.deepEqual(
        replies.flat().map(({ task }) => Number(task.payload)),
        Array.from({ length: 60 }, (_, number) => number),
      );
    });

    rule('enqueues, leases and settles together lose nothing and do nothing twice', async (bench) => {
      const seen: string[] = [];
      const produce = async (producer: number): Promise<void> => {
        for (let count = 0; count < 20; count++) await bench.put({ payload: json([producer, count]) });
      };
      const consume = async (): Promise<void> => {
        while (seen.length < 100) {
          const grants = await bench.lease({ max: 4 });
          const { results } = await bench.store.settle(grants.map((grant) => ackOf(held(grant))));
          for (const [index, outcome] of results.entries()) {
            assert.equal(outcome.outcome, 'settled');
            seen.push(grants[index]?.task.payload ?? '');
          }
        }
      };
      await Promise.all([0, 1, 2, 3, 4].map(produce).concat([0, 1, 2].map(consume)));
      assert.equal(new Set(seen).size, 100);
      assert.equal(seen.length, 100);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.completed, counts.ready, counts.leased], [100, 0, 0]);
      assert.deepEqual([totals.enqueued, totals.leased, totals.acked], [100, 100, 100]);
    });

    rule('of many equal settles one counts', async (bench) => {
      const claim = await bench.putAndTake();
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => bench.ack(claim)));
      const first = outcomes.filter((outcome) => outcome.outcome === 'settled' && !outcome.replayed);
      const again = outcomes.filter((outcome) => outcome.outcome === 'settled' && outcome.replayed);
      assert.deepEqual([first.length, again.length], [1, 19]);
      assert.equal((await bench.queue()).totals.acked, 1);
    });

    rule('of an ack and a nack at the same time exactly one counts', async (bench) => {
      for (let count = 0; count < 10; count++) {
        const claim = await bench.putAndTake();
        const outcomes = await Promise.all([bench.settle(ackOf(claim)), bench.settle(nackOf(claim))]);
        assert.deepEqual(outcomes.map(({ outcome }) => outcome).sort(), ['refused', 'settled']);
      }
      const { totals } = await bench.queue();
      assert.equal(totals.acked + totals.nacked, 10);
    });

    rule('one idempotency key used by many at the same time stores one task', async (bench) => {
      const idempotency = { key: 'k', fingerprint: 'f' };
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, () => bench.enqueue([bench.task({ idempotency })])),
      );
      const ids = outcomes.flatMap((outcome) => (outcome.outcome === 'stored' ? outcome.tasks : []));
      assert.equal(new Set(ids.map(({ task }) => task.id)).size, 1);
      assert.equal(ids.filter(({ replayed }) => !replayed).length, 1);
      assert.equal((await bench.list()).length, 1);
    });

    rule('sweeps at the same time do everything once', async (bench) => {
      await bench.putAll(Array.from({ length: 60 }, (_, number) => ({ delayMs: 10 + number })));
      await bench.putAll(
        Array.from({ length: 60 }, () => ({})),
        'r',
      );
      await bench.lease({ max: 60, leaseMs: 100 }, 'r');
      await bench.advance(1000);
      const swept = await Promise.all(Array.from({ length: 8 }, () => bench.sweep()));
      assert.equal(
        swept.reduce((sum, { promoted }) => sum + promoted, 0),
        60,
      );
      assert.equal(
        swept.reduce((sum, { reclaimed }) => sum + reclaimed, 0),
        60,
      );
      assert.equal((await bench.queue()).counts.ready, 60);
      assert.equal((await bench.queue('r')).totals.expired, 60);
      assert.equal((await bench.drain()).length, 60);
    });
  },
};
