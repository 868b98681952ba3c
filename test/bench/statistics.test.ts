import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inTurn, median, percentile, ratios } from '../../bench/statistics.ts';

test('a percentile is a number that was measured, by nearest rank', () => {
  const numbers = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(numbers, 0.5), 50);
  assert.equal(percentile(numbers, 0.99), 99);
  assert.equal(percentile(numbers, 1), 100);
  assert.equal(percentile([7], 0.99), 7);
});

test('a median of an even number of samples is the mean of the two in the middle', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.ok(Number.isNaN(median([])));
});

test('a ratio is taken between samples of the same round', () => {
  assert.deepEqual(ratios([10, 30], [5, 10]), [2, 3]);
});

test('sides are measured in turn, and none of them is always first', async () => {
  const order: string[] = [];
  const side = (name: string) => async () => order.push(name);
  const samples = await inTurn(3, { a: side('a'), b: side('b') });
  assert.deepEqual(order, ['a', 'b', 'b', 'a', 'a', 'b']);
  assert.deepEqual(samples, { a: [1, 4, 5], b: [2, 3, 6] });
});
