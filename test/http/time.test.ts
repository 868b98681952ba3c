import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toRfc3339 } from '../../src/http/time.ts';

test('a time is written as JavaScript writes it, whatever times were written before', () => {
  const anyTime = fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 });
  const nearby = fc.integer({ min: -200_000, max: 200_000 }).map((ms) => 1_900_000_000_000 + ms);
  fc.assert(
    fc.property(fc.array(fc.oneof(anyTime, nearby), { maxLength: 200 }), (times) => {
      for (const ms of times) assert.equal(toRfc3339(ms), new Date(ms).toISOString());
    }),
    { seed: 7420 },
  );
});

test('a part of a ms is cut off', () => {
  assert.equal(toRfc3339(1_900_000_000_123.9), '2030-03-17T17:46:40.123Z');
});
