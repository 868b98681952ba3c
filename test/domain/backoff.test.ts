import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { BACKOFF_TYPES, type Backoff, backoffMs, DEFAULT_BACKOFF } from '../../src/domain/backoff.ts';

const backoff: fc.Arbitrary<Backoff> = fc.record({
  type: fc.constantFrom(...BACKOFF_TYPES),
  baseMs: fc.nat(86_400_000),
  maxMs: fc.nat(366 * 86_400_000),
  jitter: fc.double({ min: 0, max: 1, noNaN: true }),
});
const attempt = fc.integer({ min: 1, max: 1000 });
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('backoff', () => {
  for (const [words, parts, attempts, expected] of [
    ['doubles', { type: 'exponential' }, [1, 2, 3, 4, 11], [1000, 2000, 4000, 8000, 1_024_000]],
    ['grows by its base', { type: 'linear' }, [1, 2, 3, 10], [1000, 2000, 3000, 10_000]],
    ['stays', { type: 'fixed' }, [1, 2, 1000], [1000, 1000, 1000]],
    ['is capped', { type: 'exponential', maxMs: 5000 }, [3, 4, 1000], [4000, 5000, 5000]],
    ['is capped below its base', { type: 'fixed', maxMs: 10 }, [1], [10]],
    ['can be nothing', { type: 'exponential', baseMs: 0 }, [1, 1000], [0, 0]],
  ] as const) {
    it(`${words}: ${JSON.stringify(parts)}`, () => {
      const own: Backoff = { ...DEFAULT_BACKOFF, jitter: 0, ...parts };
      assert.deepEqual(
        attempts.map((number) => backoffMs(own, number, 0.9)),
        expected,
      );
    });
  }

  it('adds jitter on top, of the capped delay, and rounds down', () => {
    const own: Backoff = { type: 'fixed', baseMs: 1000, maxMs: 999, jitter: 0.5 };
    assert.equal(backoffMs(own, 1, 0), 999);
    assert.equal(backoffMs(own, 1, 0.5), 1248);
    assert.equal(backoffMs(own, 1, 1 - 2 ** -53), 1498);
  });

  it('is a whole number of ms, never less than the delay, never more than the jitter allows', () => {
    fc.assert(
      fc.property(backoff, attempt, random, (own, number, drawn) => {
        const plain = backoffMs({ ...own, jitter: 0 }, number, drawn);
        const wait = backoffMs(own, number, drawn);
        assert.ok(Number.isSafeInteger(wait));
        assert.ok(wait >= plain && wait <= plain * (1 + own.jitter));
        assert.ok(plain <= own.maxMs);
      }),
    );
  });

  it('never shrinks from one attempt to the next', () => {
    fc.assert(
      fc.property(backoff, attempt, random, (own, number, drawn) => {
        assert.ok(backoffMs(own, number + 1, drawn) >= backoffMs(own, number, drawn));
      }),
    );
  });
});
