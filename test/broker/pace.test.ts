import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../../src/broker/pace.ts';

test('steps are taken one at a time, in their order, and a failed one holds up nobody', async () => {
  const pace = new Pace();
  const log: string[] = [];
  const step = (name: string): Promise<string> =>
    pace.step(async () => {
      log.push(`${name} begins`);
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      log.push(`${name} ends`);
      if (name === 'b') throw new Error('no');
      return name;
    });
  const outcomes = await Promise.allSettled(['a', 'b', 'c'].map(step));
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});

test('a step is answered after a rest as long as it took', async () => {
  const pace = new Pace();
  let [began, ended] = [0, 0];
  await pace.step(async () => {
    began = performance.now();
    // Busy for a while, as a store is.
    while (performance.now() - began < 20);
    ended = performance.now();
  });
  // No rest is longer than 100 ms; timers cut fractions and may fire a millisecond early.
  assert.ok(performance.now() - ended >= Math.min(ended - began, 100) - 2);
});
