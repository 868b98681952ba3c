import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { QueueTurns } from '../../src/broker/queue-turns.ts';
import type { OpenStore } from '../support/store-harness.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { until } from '../support/until.ts';
import { type Poll, type PollOptions, RunningBroker } from './running-broker.ts';

const QUEUES = ['a', 'b', 'c'];

/** The queues of what was granted, in the order of the grants. */
async function from(poll: Poll): Promise<string> {
  return (await poll.grants).map(({ task }) => task.queue).join('');
}

function count(served: string, queue: string): number {
  return served.split(queue).length - 1;
}

for (const makeHarness of Object.values(STORE_HARNESSES)) {
  const harness = makeHarness();
  after(() => harness.stop());

  describe(`leases of several queues on ${harness.name}`, () => {
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

    async function fill(tasks: Record<string, number>): Promise<void> {
      for (const [queue, number] of Object.entries(tasks)) await at.enqueue(queue, number);
    }

    /** Polls one after the other. */
    async function oneByOne(polls: number, queues: string[], options: PollOptions = {}): Promise<string[]> {
      const served: string[] = [];
      for (let poll = 0; poll < polls; poll++) served.push(await from(at.poll(queues, { order: 'fair', ...options })));
      return served;
    }

    for (const waitMs of [0, 60_000]) {
      test(`take them in the order named when it is strict (waitMs=${waitMs})`, async () => {
        await fill({ a: 3, b: 2, c: 1 });
        assert.equal((await oneByOne(6, QUEUES, { order: 'strict', waitMs })).join(''), 'aaabbc');
      });

      test(`begin with the next queue each time when it is fair (waitMs=${waitMs})`, async () => {
        await fill({ a: 4, b: 3, c: 2 });
        assert.equal((await oneByOne(9, QUEUES, { waitMs })).join(''), 'abcabcaba');
      });

      test(`pass over a queue that has nothing, which saves up no turns (waitMs=${waitMs})`, async () => {
        await fill({ a: 7, c: 7 });
        assert.equal((await oneByOne(6, QUEUES, { waitMs })).join(''), 'acacac');
        await fill({ b: 7 });
        const served = (await oneByOne(9, QUEUES, { waitMs })).join('');
        assert.deepEqual(
          QUEUES.map((queue) => count(served, queue)),
          [3, 3, 3],
        );
      });

      test(`take several tasks from all queues alike (waitMs=${waitMs})`, async () => {
        await fill({ a: 50, b: 50, c: 50 });
        const served = await oneByOne(3, QUEUES, { waitMs, max: 10 });
        assert.deepEqual(
          served.map((queues) => queues.length),
          [10, 10, 10],
        );
        for (const queues of served) for (const queue of QUEUES) assert.ok(count(queues, queue) >= 3, queues);
        assert.equal(count(served.join(''), 'a'), 10);
      });

      test(`and what one queue lacks from those that have more (waitMs=${waitMs})`, async () => {
        await fill({ a: 50, b: 1, c: 2 });
        assert.deepEqual(await oneByOne(2, QUEUES, { waitMs, max: 10 }), ['aaaabccaaa', 'a'.repeat(10)]);
      });
    }

    test('know one turn for all orders in which the same queues are named', async () => {
      await fill({ a: 2, b: 2 });
      const served = [];
      for (const queues of [
        ['a', 'b'],
        ['b', 'a'],
        ['a', 'b'],
        ['b', 'a'],
      ])
        served.push(...(await oneByOne(1, queues)));
      assert.equal(served.join(''), 'abab');
    });

    test('find what they were granted again by their request id', async () => {
      await fill({ a: 9, b: 9 });
      const ask = { order: 'fair', max: 6, requestId: 'r' } as const;
      const first = at.poll(['a', 'b'], ask);
      const granted = await first.grants;
      at.broker.delivered(granted);
      assert.deepEqual([await from(first), (await at.queue('a')).counts.leased], ['aaabbb', 3]);
      const again = await at.poll(['a', 'b'], ask).grants;
      assert.deepEqual(
        again.map(({ task }) => task.id),
        granted.map(({ task }) => task.id),
      );
      at.broker.delivered(again);
    });

    test('give back what they took from any of the queues when the client goes', async () => {
      await fill({ a: 5, b: 5 });
      const hold = at.watch.hold('reply', 'lease');
      const poll = at.poll(['a', 'b'], { order: 'fair', max: 6 });
      await until(() => hold.held === 1, { what: 'a has been asked' });
      poll.abort();
      hold.release();
      assert.deepEqual(await poll.grants, []);
      await at.quiet();
      assert.deepEqual([(await at.queue('a')).counts.ready, (await at.queue('b')).counts.ready], [5, 5]);
    });

    test('are parked and served by whichever queue has something first', async () => {
      const [poll] = await at.park(1, QUEUES, { order: 'fair' });
      assert.ok(poll);
      await at.enqueue('c');
      assert.equal(await from(poll), 'c');
    });

    test('do not starve a queue while many wait in line for both', async () => {
      const polls = 400;
      await fill({ a: polls, b: polls });
      let left = polls;
      const grants: string[] = [];
      const work = async (): Promise<void> => {
        while (left-- > 0) grants.push(await from(at.poll(['a', 'b'], { order: 'fair' })));
      };
      await Promise.all(Array.from({ length: 20 }, work));
      const served = grants.join('');
      assert.equal(served.length, polls);
      assert.ok(Math.abs(count(served, 'a') - count(served, 'b')) <= 40, `${count(served, 'a')} from a`);
    });
  });
}

describe('turns', () => {
  test('are remembered of the sets of queues that were used last, and of no more than 256', () => {
    const turns = new QueueTurns();
    const kept = turns.of(['a', 'b']);
    kept.asks('a', 1);
    for (let set = 0; set < 255; set++) turns.of(['a', `q${set}`]);
    assert.deepEqual(turns.of(['b', 'a']).order, ['b', 'a']);
    for (let set = 0; set < 256; set++) turns.of(['a', `q${set}`]);
    assert.notEqual(turns.of(['a', 'b']), kept);
  });

  test('go to another queue while one is being asked', () => {
    const turn = new QueueTurns().of(['a', 'b']);
    turn.asks('a', 1);
    assert.deepEqual(turn.order, ['b', 'a']);
    turn.got('a', 1, 1);
    turn.asks('b', 1);
    turn.got('b', 1, 0);
    assert.deepEqual(turn.order, ['a', 'b']);
  });
});
