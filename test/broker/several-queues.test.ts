import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { StoreError } from '../../src/store/store.ts';
import type { OpenStore } from '../support/store-harness.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { until } from '../support/until.ts';
import { numbers, type Poll, RunningBroker, soFar } from './running-broker.ts';
import type { Hold } from './watched-store.ts';

for (const makeHarness of Object.values(STORE_HARNESSES)) {
  const harness = makeHarness();
  after(() => harness.stop());

  describe(`a poll of several queues on ${harness.name} keeps its place in all of them`, () => {
    let opened: OpenStore;
    let at: RunningBroker;
    beforeEach(async () => {
      opened = await harness.open();
      at = new RunningBroker(opened.store);
    });
    afterEach(async () => {
      await at.broker.stop();
      await opened.close();
    });

    /** Parked polls, the first of which is asking the empty queue a: the reply is held. */
    async function oneAsks(...parked: (string | string[])[]): Promise<{ polls: Poll[]; hold: Hold }> {
      await at.broker.configureQueue('a', {}, 'merge');
      const polls: Poll[] = [];
      for (const queues of parked) polls.push(...(await at.park(1, queues)));
      const hold = at.watch.hold('reply', 'lease');
      await at.broker.resumeQueue('a');
      await until(() => hold.held === 1, { what: 'a has been asked' });
      return { polls, hold };
    }

    test('while it is asking one of them', async () => {
      const { polls, hold } = await oneAsks(['a', 'b'], 'b', 'b');
      await at.enqueue('b', 2);
      hold.release();
      const [several, first, second] = polls as [Poll, Poll, Poll];
      assert.deepEqual([await numbers(several), await numbers(first)], [[0], [1]]);
      await at.quiet();
      assert.deepEqual(await soFar([second]), [null]);
    });

    test('and those behind it are served when that has given it a task', async () => {
      const { polls, hold } = await oneAsks(['a', 'b'], 'b');
      await at.enqueue('a');
      await at.enqueue('b');
      hold.release();
      const [several, first] = polls as [Poll, Poll];
      const [mine = Number.NaN] = await numbers(several);
      if (mine === 1) await at.enqueue('b');
      assert.deepEqual(await numbers(first), [mine === 1 ? 2 : 1]);
    });

    test('and those behind it are served at once when its client goes', async () => {
      const { polls, hold } = await oneAsks(['a', 'b'], 'b');
      const before = at.watch.calls('lease');
      await at.enqueue('b');
      const [several, first] = polls as [Poll, Poll];
      assert.equal(at.watch.calls('lease'), before, 'b is not asked for those behind it meanwhile');
      several.abort();
      await until(() => hold.held === 2, { what: 'b is asked for the next in line' });
      hold.release();
      assert.deepEqual(await numbers(first), [0]);
      assert.deepEqual(await several.grants, []);
    });

    test('and those behind it are served when the store fails it', async () => {
      const { polls, hold } = await oneAsks(['a', 'b'], 'b');
      await at.enqueue('b');
      const [several, first] = polls as [Poll, Poll];
      hold.fail(new StoreError('unavailable', 'the store is away'));
      await assert.rejects(several.reply, { kind: 'unavailable' });
      assert.deepEqual(await numbers(first), [0]);
    });

    test('while it asks them for the first time', async () => {
      const hold = at.watch.hold('reply', 'lease');
      const several = at.poll(['a', 'b', 'c']);
      await until(() => hold.held === 1, { what: 'a has been asked' });
      const first = at.poll('c');
      await at.enqueue('c');
      hold.release();
      assert.deepEqual(await numbers(several), [0]);
      await at.quiet();
      assert.deepEqual(await soFar([first]), [null]);
    });

    test('and does not overtake those that are being served there when it comes', async () => {
      const polls = await at.park(3, 'b');
      const hold = at.watch.hold('call', 'lease');
      await at.enqueue('b');
      await until(() => hold.held === 1, { what: 'the first is being served' });
      const several = at.poll(['b', 'a', 'c']);
      await at.enqueue('b', 2);
      hold.release();
      assert.deepEqual((await Promise.all(polls.map(numbers))).flat(), [0, 1, 2]);
      await at.quiet();
      assert.deepEqual(await soFar([several]), [null]);
      await at.enqueue('c');
      assert.deepEqual(await numbers(several), [3]);
    });

    test('and many that come together share calls', async () => {
      const before = at.watch.calls('lease');
      const polls = await at.park(100, ['a', 'b', 'c']);
      const parking = at.watch.calls('lease') - before;
      assert.ok(parking <= 12, `${parking} calls`);
      await Promise.all(['a', 'b', 'c'].map((queue) => at.enqueue(queue, 30)));
      const served = await Promise.all(polls.slice(0, 90).map(numbers));
      assert.equal(new Set(served.flat()).size, 90);
      await at.quiet();
      assert.deepEqual(await soFar(polls.slice(90)), new Array(10).fill(null));
    });
  });
}
