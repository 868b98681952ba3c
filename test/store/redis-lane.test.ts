import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Lane } from '../../src/store/redis/lane.ts';

/** A lane whose calls are answered when the test says so, each item with itself. */
function watchedLane(maxItems = 128) {
  const runs: { items: readonly number[]; answer: () => void; fail: (error: Error) => void }[] = [];
  const lane = new Lane<number, number>({
    maxItems,
    maxWeight: maxItems,
    serial: true,
    run: (items) =>
      new Promise((resolve, reject) => {
        const answer = (): void => resolve({ now: 1, dueAt: null, results: items });
        runs.push({ items, answer, fail: reject });
      }),
  });
  return { lane, runs, items: () => runs.map((run) => run.items) };
}

describe('a lane of script calls', () => {
  it('lets a lone call wait for no more than the end of the turn', async () => {
    const { lane, runs, items } = watchedLane();
    const call = lane.call([1], 1);
    assert.deepEqual(items(), []);
    await turn();
    assert.deepEqual(items(), [[1]]);
    runs[0]?.answer();
    assert.deepEqual((await call).results, [1]);
  });

  it('sends what came within one turn together, and answers each caller its own', async () => {
    const { lane, runs, items } = watchedLane();
    const calls = [lane.call([1, 2], 2), lane.call([3], 1)];
    await turn();
    assert.deepEqual(items(), [[1, 2, 3]]);
    runs[0]?.answer();
    assert.deepEqual(
      (await Promise.all(calls)).map(({ results }) => results),
      [[1, 2], [3]],
    );
  });

  it('keeps for one turn what waits when it is busy, and no longer', async () => {
    const { lane, runs, items } = watchedLane();
    const first = [1, 2, 3, 4].map((item) => lane.call([item], 1));
    await turn();
    const waiting = lane.call([5], 1);
    runs[0]?.answer();
    await Promise.all(first);
    await turn();
    assert.equal(runs.length, 1);
    const late = lane.call([6], 1);
    await turn();
    assert.deepEqual(items(), [
      [1, 2, 3, 4],
      [5, 6],
    ]);
    runs[1]?.answer();
    assert.deepEqual(
      (await Promise.all([waiting, late])).map(({ results }) => results),
      [[5], [6]],
    );
  });

  it('bounds a call, and sends the rest when it is answered', async () => {
    const { lane, runs, items } = watchedLane(2);
    const calls = [1, 2, 3].map((item) => lane.call([item], 1));
    await turn();
    runs[0]?.answer();
    await Promise.all(calls.slice(0, 2));
    await turn();
    assert.deepEqual(items(), [[1, 2], [3]]);
    runs[1]?.answer();
    await calls[2];
  });

  it('tells every caller of a call that it failed, and no other', async () => {
    const { lane, runs } = watchedLane();
    const lost = [lane.call([1], 1), lane.call([2], 1)];
    await turn();
    const kept = lane.call([3], 1);
    runs[0]?.fail(new Error('lost'));
    for (const call of lost) await assert.rejects(call, /lost/);
    await turn();
    runs[1]?.answer();
    assert.deepEqual((await kept).results, [3]);
  });
});
