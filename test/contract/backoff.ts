import assert from 'node:assert/strict';
import { type Backoff, backoffMs } from '../../src/domain/backoff.ts';
import { held, nackOf, type Theme } from './workbench.ts';

const YEAR_MS = 366 * 86_400_000;

const BACKOFFS: readonly Backoff[] = [
  { type: 'exponential', baseMs: 1000, maxMs: 3_600_000, jitter: 0.2 },
  { type: 'exponential', baseMs: 1, maxMs: YEAR_MS, jitter: 1 },
  { type: 'exponential', baseMs: 3, maxMs: 1_000_003, jitter: 0.333 },
  { type: 'exponential', baseMs: 7, maxMs: YEAR_MS, jitter: 0 },
  { type: 'linear', baseMs: 1500, maxMs: 45_000, jitter: 0.1 },
  { type: 'linear', baseMs: 1, maxMs: YEAR_MS, jitter: 0.7 },
  { type: 'linear', baseMs: 86_400_000, maxMs: YEAR_MS, jitter: 0.123456789 },
  { type: 'fixed', baseMs: 5000, maxMs: 1_000_000, jitter: 0.5 },
  { type: 'fixed', baseMs: 99_999, maxMs: 777, jitter: 1 },
  { type: 'fixed', baseMs: 0, maxMs: 1000, jitter: 1 },
];

/** Randoms that end a test of equal arithmetic soonest: the ends, thirds, and seventeen digits. */
const RANDOMS = [0, 0.5, 1 / 3, 0.1, 0.9999999999999999, 0.12345678901234568, 2 ** -53, Math.SQRT1_2];

const ATTEMPTS = 40;

export const backoff: Theme = {
  name: 'backoff',
  rules(rule) {
    rule(`the wait after attempts 1 to ${ATTEMPTS} is that of the formula, to the millisecond`, async (bench) => {
      const tasks = await bench.putAll(BACKOFFS.map((one) => ({ backoff: one, maxAttempts: 1000 })));
      const rules = new Map(tasks.map(({ id }, index) => [id, BACKOFFS[index]]));
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const grants = await bench.lease({ max: 100 });
        assert.equal(grants.length, BACKOFFS.length);
        const items = grants.map((grant, index) => {
          const random = RANDOMS[(attempt + index) % RANDOMS.length] ?? 0;
          const own = rules.get(grant.task.id);
          if (!own) throw new Error('a task without a backoff');
          const wait = backoffMs(own, attempt, random);
          return { item: nackOf(held(grant), { random }), wait, words: JSON.stringify({ ...own, attempt, random }) };
        });
        const { results } = await bench.store.settle(items.map(({ item }) => item));
        for (const [index, outcome] of results.entries()) {
          const { wait = NaN, words = '' } = items[index] ?? {};
          assert.equal(outcome.outcome === 'settled' && outcome.runAt - bench.now(), wait, words);
          assert.equal(outcome.outcome === 'settled' && outcome.state, wait === 0 ? 'ready' : 'scheduled', words);
        }
        await bench.pass(2 * YEAR_MS);
      }
    });

    const golden = [
      ['the default', null, 1, 0, 1000],
      ['the default', null, 3, 0, 4000],
      ['the default', null, 3, 0.5, 4400],
      ['the default, capped', { type: 'exponential', baseMs: 1000, maxMs: 3_600_000, jitter: 0.2 }, 13, 0, 3_600_000],
      ['jitter above the cap', { type: 'exponential', baseMs: 1000, maxMs: 3000, jitter: 0.5 }, 3, 0.5, 3750],
      ['linear', { type: 'linear', baseMs: 1000, maxMs: 60_000, jitter: 0 }, 3, 0.9, 3000],
      ['fixed', { type: 'fixed', baseMs: 1000, maxMs: 60_000, jitter: 0 }, 3, 0.9, 1000],
    ] as const;
    for (const [words, own, attempts, random, wait] of golden) {
      rule(`${words}: attempt ${attempts}, random ${random} → ${wait} ms`, async (bench) => {
        const { id } = await bench.put({ backoff: own, maxAttempts: 1000 });
        for (let attempt = 1; attempt < attempts; attempt++) {
          await bench.nack(held(await bench.take()), { delayMs: 0 });
        }
        const outcome = await bench.nack(held(await bench.take()), { random });
        assert.equal(outcome.outcome === 'settled' && outcome.runAt, bench.now() + wait);
        assert.equal((await bench.get(id)).runAt, bench.now() + wait);
      });
    }

    rule('the queue’s backoff counts for tasks that have none of their own, as it is now', async (bench) => {
      await bench.putAll([{}, {}, { backoff: { type: 'fixed', baseMs: 5, maxMs: 5, jitter: 0 } }]);
      await bench.store.configure('q', { backoff: { type: 'linear', baseMs: 300, jitter: 0 } }, 'merge');
      const waits: number[] = [];
      for (let count = 0; count < 3; count++) {
        const outcome = await bench.nack(held(await bench.take()), { random: 0.5 });
        if (outcome.outcome === 'settled') waits.push(outcome.runAt - bench.now());
        if (count === 0) await bench.store.configure('q', {}, 'replace');
      }
      assert.deepEqual(waits, [300, 1100, 5]);
    });
  },
};
