import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type Store, StoreError } from '../../src/store/store.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { seeded, testSeed } from '../support/seeded.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { until } from '../support/until.ts';
import { numbers, RunningBroker, soFar } from './running-broker.ts';

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, index) => from + index);

const ascending = (numbers: number[]): number[] => numbers.toSorted((a, b) => a - b);

const redis = STORE_HARNESSES.redis();
after(() => redis.stop());

/** Opens an empty store of each kind, and says how to close it. */
const STORES: Record<string, () => Promise<{ store: Store; close: () => Promise<void> }>> = {
  async sqlite() {
    const store = new SqliteStore({ path: ':memory:', durability: 'full' });
    await store.open();
    return { store, close: () => store.close() };
  },
  async redis() {
    const opened = await redis.open();
    return { store: opened.store, close: () => opened.close() };
  },
};

for (const [name, open] of Object.entries(STORES)) {
  describe(`parked polls on ${name}`, () => {
    let opened: Awaited<ReturnType<typeof open>>;
    let at: RunningBroker;
    beforeEach(async () => {
      opened = await open();
      at = new RunningBroker(opened.store);
    });
    afterEach(async () => {
      await at.broker.stop();
      await opened.close();
    });

    test('1,000 are served first come, first served', async () => {
      const polls = await at.park(1000, 'q');
      assert.equal(at.broker.waiters('q'), 1000);
      const answered: number[] = [];
      for (const [index, { grants }] of polls.entries()) void grants.then(() => answered.push(index));
      await at.enqueue('q', 300);
      await at.enqueue('q', 700);
      const granted = await Promise.all(polls.map(numbers));
      assert.deepEqual(granted.flat(), range(1000));
      assert.deepEqual(answered, range(1000), 'and answered in that order');
      assert.equal(at.broker.waiters('q'), 0);
    });

    test('a poll that comes later does not overtake those that wait', async () => {
      const polls = await at.park(3, 'q');
      const stored = at.enqueue('q', 3);
      const late = at.poll('q');
      await stored;
      for (const [index, poll] of polls.entries()) assert.deepEqual(await numbers(poll), [index]);
      await at.quiet();
      assert.deepEqual(await soFar([late]), [null]);
      await at.enqueue('q');
      assert.deepEqual(await numbers(late), [3]);
    });

    test('a poll takes as much as there is, up to what it asks for', async () => {
      const [first, second] = await at.park(2, 'q', { max: 5 });
      assert.ok(first && second);
      await at.enqueue('q', 7);
      assert.deepEqual(await numbers(first), range(5));
      assert.deepEqual(await numbers(second), [5, 6]);
    });

    test('one of several queues is served by whichever has something, and leaves them all', async () => {
      const [poll] = await at.park(1, ['a', 'b', 'c']);
      assert.deepEqual(
        ['a', 'b', 'c'].map((queue) => at.broker.waiters(queue)),
        [1, 1, 1],
      );
      await at.enqueue('b');
      assert.deepEqual(await numbers(poll ?? assert.fail()), [0]);
      assert.deepEqual(
        ['a', 'b', 'c'].map((queue) => at.broker.waiters(queue)),
        [0, 0, 0],
      );
      await at.enqueue('a');
      assert.equal((await at.queue('a')).counts.ready, 1);
    });

    test('earlier queues come first for one of several', async () => {
      await at.enqueue('b');
      await at.enqueue('a');
      const poll = at.poll(['a', 'b'], { max: 1 });
      assert.deepEqual(await numbers(poll), [1]);
      assert.deepEqual(await numbers(at.poll(['a', 'b'], { max: 5 })), [0]);
    });

    test('of tasks that come into several of its queues at once it takes one, and the next in line the other', async () => {
      const [both] = await at.park(1, ['a', 'b']);
      const [onlyA] = await at.park(1, 'a');
      const [onlyB] = await at.park(1, 'b');
      assert.ok(both && onlyA && onlyB);
      await Promise.all([at.enqueue('a'), at.enqueue('b')]);
      const [first] = await numbers(both);
      const rest = first === 0 ? onlyB : onlyA;
      assert.deepEqual(await numbers(rest), [first === 0 ? 1 : 0]);
      await at.quiet();
      assert.deepEqual(await soFar([first === 0 ? onlyA : onlyB]), [null]);
    });

    test('a task that comes while a call for the queue is under way is not missed', async () => {
      const hold = at.watch.hold('reply', 'lease');
      const poll = at.poll('q');
      await until(() => hold.held === 1, { what: 'the store has found nothing' });
      await at.enqueue('q');
      hold.release();
      assert.deepEqual(await numbers(poll), [0]);
    });

    test('nor one that comes into a queue already asked while the poll asks its other queues', async () => {
      const hold = at.watch.hold('reply', 'lease');
      const poll = at.poll(['a', 'b', 'c']);
      await until(() => hold.held === 1, { what: 'the store has found nothing in the first queue' });
      await at.enqueue('a');
      hold.release();
      assert.deepEqual(await numbers(poll), [0]);
    });

    test('a queue in which somebody stands who is asking elsewhere is not taken for an empty one', async () => {
      await at.enqueue('b', 2);
      const hold = at.watch.hold('reply', 'lease');
      const several = at.poll(['a', 'b']);
      await until(() => hold.held === 1, { what: 'the other queue is asked' });
      const one = at.poll('b');
      hold.release();
      const granted = await Promise.all([several, one].map(numbers));
      assert.deepEqual(ascending(granted.flat()), [0, 1]);
    });

    test('nor are several that come while those who could have them are asking elsewhere', async () => {
      const hold = at.watch.hold('reply', 'lease');
      const polls = range(5).map(() => at.poll(['a', 'b']));
      await until(() => hold.held > 0);
      await at.enqueue('a', 3);
      await at.enqueue('b', 2);
      hold.release();
      const granted = await Promise.all(polls.map(numbers));
      assert.deepEqual(ascending(granted.flat()), range(5));
    });

    test('a client that goes leaves the line and is never assigned', async () => {
      const polls = await at.park(3, 'q');
      polls[0]?.abort();
      assert.equal(at.broker.waiters('q'), 2);
      assert.deepEqual(await polls[0]?.grants, []);
      await at.enqueue('q', 2);
      assert.deepEqual(await numbers(polls[1] ?? assert.fail()), [0]);
      assert.deepEqual(await numbers(polls[2] ?? assert.fail()), [1]);
      assert.equal((await at.queue('q')).totals.leased, 2);
    });

    test('a client that goes while a task is being granted to it gives it back, to the next in line', async () => {
      const [gone, next] = await at.park(2, 'q');
      assert.ok(gone && next);
      const hold = at.watch.hold('reply', 'lease');
      await at.enqueue('q');
      await until(() => hold.held === 1);
      gone.abort();
      assert.equal(at.broker.waiters('q'), 1, 'it leaves at once');
      hold.release();
      assert.deepEqual(await gone.grants, []);
      const [grant] = await next.grants;
      assert.deepEqual([grant?.task.payload, grant?.task.attempt, grant?.task.deliveries], ['0', 1, 2]);
    });

    test('nothing more is asked for a client that goes while the first of its queues is asked', async () => {
      await at.enqueue('b');
      for (const waitMs of [0, 60_000]) {
        const hold = at.watch.hold('reply', 'lease');
        const poll = at.poll(['a', 'b'], { waitMs });
        await until(() => hold.held === 1);
        poll.abort();
        hold.release();
        assert.deepEqual(await poll.grants, []);
      }
      assert.equal((await at.queue('b')).totals.leased, 0);
    });

    for (const requestId of [undefined, 'r']) {
      test(`a client that had gone before it asked does not wait, ${requestId ? 'with' : 'without'} a request id`, async () => {
        const [other] = await at.park(1, 'q');
        const poll = at.poll('q', requestId === undefined ? {} : { requestId });
        poll.abort();
        assert.deepEqual(await poll.grants, []);
        assert.equal(at.broker.waiters('q'), 1);
        await at.enqueue('q');
        assert.deepEqual(await numbers(other ?? assert.fail()), [0]);
      });
    }

    const seed = testSeed();
    test(`1,000 of which half go while tasks pour in: each task is delivered once (LESSOR_SEED=${seed})`, async () => {
      const random = seeded(seed);
      const polls = await at.park(1000, 'q');
      const leaving = range(1000).filter((index) => index % 2 === 1);
      for (let last = leaving.length - 1; last > 0; last--) {
        const other = Math.floor(random() * (last + 1));
        [leaving[last], leaving[other]] = [leaving[other] ?? 0, leaving[last] ?? 0];
      }
      const pouring: Promise<unknown>[] = [];
      for (let stored = 0; stored < 1000; ) {
        const count = Math.min(1000 - stored, 1 + Math.floor(random() * 40));
        pouring.push(at.enqueue('q', count));
        stored += count;
        for (const index of leaving.splice(0, Math.floor(random() * 40))) polls[index]?.abort();
        await turn();
      }
      for (const index of leaving) polls[index]?.abort();
      await Promise.all(pouring);
      const granted = await Promise.all(polls.map(({ grants }) => grants));
      await at.quiet();

      for (const [index, grants] of granted.entries()) {
        // One that leaves may have been served before.
        assert.ok(grants.length === 1 || (grants.length === 0 && index % 2 === 1), `${grants.length} to poll ${index}`);
      }
      const delivered = granted.flat();
      assert.equal(new Set(delivered.map(({ task }) => task.id)).size, delivered.length, 'none was delivered twice');
      for (const { task } of delivered) assert.equal(task.attempt, 1);
      const { counts, totals } = await at.queue('q');
      assert.deepEqual([counts.leased, counts.ready], [delivered.length, 1000 - delivered.length]);
      assert.deepEqual([totals.expired, totals.leased - totals.released], [0, delivered.length]);
      // Those that nobody was given are as they were, and in their order.
      const rest: number[] = [];
      while (rest.length < counts.ready) {
        for (const { task } of await at.poll('q', { max: 100, waitMs: 0 }).grants) {
          assert.equal(task.attempt, 1);
          rest.push(Number(task.payload));
        }
      }
      assert.deepEqual(rest, ascending(rest));
    });

    test('draining answers all at once with nothing, and nobody waits any more', async () => {
      const polls = [...(await at.park(500, 'q')), ...(await at.park(10, ['q', 'other']))];
      const hold = at.watch.hold('reply', 'lease');
      const asking = at.poll('elsewhere');
      const named = at.poll('elsewhere', { requestId: 'r' });
      await until(() => hold.held >= 1);
      at.broker.drain();
      for (const { grants } of polls) assert.deepEqual(await grants, []);
      hold.release();
      for (const { grants } of [asking, named]) assert.deepEqual(await grants, []);
      assert.deepEqual(await at.poll('q').grants, []);
      for (const queue of ['q', 'other', 'elsewhere']) assert.equal(at.broker.waiters(queue), 0);
      await at.enqueue('q');
      assert.equal((await at.poll('q').grants).length, 1, 'what is there is still to be had');
    });

    test('what is granted while the broker begins to drain is delivered', async () => {
      const [poll] = await at.park(1, 'q');
      const hold = at.watch.hold('reply', 'lease');
      await at.enqueue('q');
      await until(() => hold.held === 1);
      at.broker.drain();
      hold.release();
      assert.deepEqual(await numbers(poll ?? assert.fail()), [0]);
    });

    test('stopping ends when what was being granted to clients that have gone is given back', async () => {
      for (const requestId of [undefined, 'r']) {
        const queue = `q-${requestId}`;
        const broker = new RunningBroker(opened.store);
        const asked = requestId === undefined ? {} : { requestId };
        const parked = await broker.park(1, queue, asked);
        const hold = broker.watch.hold('reply', 'lease');
        await broker.enqueue(queue, 2);
        const polls = [...parked, broker.poll(['elsewhere', queue], { ...asked, waitMs: 0 })];
        await until(() => hold.held >= 1);
        for (const poll of polls) poll.abort();
        let stopped = false;
        const stopping = broker.broker.stop().finally(() => {
          stopped = true;
        });
        await turn();
        assert.equal(stopped, false);
        const settles = broker.watch.calls('settle');
        hold.release();
        await stopping;
        assert.equal(broker.watch.calls('settle'), settles + 1);
        assert.equal(broker.watch.replies('settle'), settles + 1, 'it has been given back');
        assert.equal((await at.queue(queue)).counts.leased, 0);
      }
    });

    test('a store that fails is told to all who wait in the queue: an empty list would be a lie', async () => {
      const polls = [...(await at.park(3, 'q')), ...(await at.park(1, ['q', 'other']))];
      const [elsewhere] = await at.park(1, 'other');
      const hold = at.watch.hold('reply', 'enqueue');
      const stored = at.enqueue('q');
      await until(() => hold.held === 1);
      at.watch.fail('lease', new StoreError('unavailable', 'the store is away'));
      hold.release();
      await stored;
      for (const { reply } of polls) await assert.rejects(reply, { name: 'StoreError', kind: 'unavailable' });
      for (const waitMs of [0, 60_000]) {
        await assert.rejects(at.poll('new', { waitMs }).reply, { kind: 'unavailable' });
        await assert.rejects(at.poll(['new', 'newer'], { waitMs }).reply, { kind: 'unavailable' });
        await assert.rejects(at.poll('new', { waitMs, requestId: 'r' }).reply, { kind: 'unavailable' });
      }
      assert.equal(at.broker.waiters('q'), 0);
      at.watch.fail('lease', null);
      assert.equal((await at.poll('q').grants).length, 1, 'and who asks again is served');
      await at.enqueue('other');
      assert.equal((await elsewhere?.grants)?.length, 1);
    });
  });
}

describe('parked polls, call by call', () => {
  let store: SqliteStore;
  let at: RunningBroker;
  beforeEach(async () => {
    store = new SqliteStore({ path: ':memory:', durability: 'full' });
    await store.open();
    at = new RunningBroker(store);
  });
  afterEach(async () => {
    await at.broker.stop();
    await store.close();
  });

  test('none is made for those that come to an empty queue in which somebody waits', async () => {
    await at.park(1, 'q');
    const before = at.watch.calls('lease');
    await at.park(500, 'q');
    assert.equal(at.watch.calls('lease'), before);
  });

  test('one of several queues stands in each line by the time it came', async () => {
    const [both] = await at.park(1, ['a', 'b']);
    const [onlyA] = await at.park(1, 'a');
    const [onlyB] = await at.park(1, 'b');
    assert.ok(both && onlyA && onlyB);
    await at.enqueue('b');
    assert.deepEqual(await numbers(both), [0], 'it came first in both lines');
    await at.enqueue('b');
    await at.enqueue('a');
    assert.deepEqual(await numbers(onlyB), [1]);
    assert.deepEqual(await numbers(onlyA), [2]);
  });

  test('few are made when 1,000 come at once, or go', async () => {
    const polls = await at.park(1000, 'q');
    assert.ok(at.watch.calls('lease') <= 3, `${at.watch.calls('lease')} calls`);
    const before = at.watch.calls('lease');
    for (const poll of polls) poll.abort();
    await Promise.all(polls.map(({ grants }) => grants));
    assert.equal(at.watch.calls('lease'), before);
    assert.equal(at.broker.waiters('q'), 0);
  });

  for (const [tasks, most] of [
    [1, 2],
    [10, 2],
    [100, 2],
    [1000, 11],
  ] as const) {
    test(`a burst of ${tasks} wakes as many of 1,000 with at most ${most}`, async () => {
      const polls = await at.park(1000, 'q');
      const before = at.watch.calls('lease');
      const asked = at.watch.items('lease');
      await at.enqueue('q', tasks);
      const granted = await Promise.all(polls.slice(0, tasks).map(numbers));
      assert.deepEqual(granted.flat(), range(tasks));
      await at.quiet();
      const made = at.watch.calls('lease') - before;
      assert.ok(made <= most, `${made} calls`);
      // Whoever is not likely to get anything is not asked for.
      assert.ok(at.watch.items('lease') - asked <= 3 * tasks, `${at.watch.items('lease') - asked} were asked for`);
      assert.equal(at.broker.waiters('q'), 1000 - tasks);
    });
  }

  test('tasks that are stored one by one in the same instant share calls', async () => {
    const polls = await at.park(1000, 'q');
    const before = at.watch.calls('lease');
    await Promise.all(range(200).map(() => at.enqueue('q')));
    await Promise.all(polls.slice(0, 200).map(numbers));
    await at.quiet();
    const made = at.watch.calls('lease') - before;
    assert.ok(made <= 20, `${made} calls`);
  });

  test('a queue that is resumed serves all who wait, though nobody said how many tasks there are', async () => {
    await at.enqueue('q', 300);
    await at.broker.pauseQueue('q');
    const polls = await at.park(300, 'q');
    const before = at.watch.calls('lease');
    await at.broker.resumeQueue('q');
    assert.deepEqual((await Promise.all(polls.map(numbers))).flat(), range(300));
    assert.ok(at.watch.calls('lease') - before <= 12, `${at.watch.calls('lease') - before} calls`);
  });
});

test('what waits keeps no process alive', async () => {
  // Killed before the waits run out, each of which would end it in the end.
  const options = { stdio: 'pipe', timeout: 30_000 } as const;
  const child = spawn(process.execPath, [new URL('parked-alone.ts', import.meta.url).pathname], options);
  let said = '';
  child.stdout.on('data', (piece) => (said += String(piece)));
  child.stderr.on('data', (piece) => (said += String(piece)));
  const [code] = await once(child, 'exit');
  assert.deepEqual([code, said], [0, 'parked\n']);
});

describe('how many may wait', () => {
  const MAX = 20;
  let store: SqliteStore;
  let at: RunningBroker;
  before(async () => {
    store = new SqliteStore({ path: ':memory:', durability: 'full' });
    await store.open();
    at = new RunningBroker(store, MAX);
  });
  after(async () => {
    await at.broker.stop();
    await store.close();
  });

  test('one more is refused without a call to the store; one that does not wait is served', async () => {
    const polls = await at.park(MAX, ['a', 'b']);
    const before = at.watch.calls('lease');
    for (const queue of ['a', 'c']) assert.deepEqual(await at.poll(queue).reply, { outcome: 'too_many_waiters' });
    assert.equal(at.watch.calls('lease'), before);
    assert.deepEqual(await at.poll('c', { waitMs: 0 }).grants, []);
    polls[0]?.abort();
    const [next] = await at.park(1, 'c');
    assert.deepEqual(await at.poll('c').reply, { outcome: 'too_many_waiters' });
    await at.enqueue('c');
    assert.equal((await next?.grants)?.length, 1);
    for (const poll of polls) poll.abort();
  });

  test('those who wait for the end of a task count too', async () => {
    const [task] = await at.enqueue('q');
    const client = new AbortController();
    const waits = range(MAX / 2).map(() => at.broker.finishedTask(task?.id ?? '', 60_000, client.signal));
    const polls = await at.park(MAX / 2, 'empty');
    assert.deepEqual(await at.poll('empty').reply, { outcome: 'too_many_waiters' });
    assert.equal(await at.broker.finishedTask(task?.id ?? '', 60_000, client.signal), 'too_many_waiters');
    client.abort();
    for (const wait of waits) assert.equal(Object(await wait).state, 'ready');
    assert.equal((await at.park(MAX / 2, 'empty')).length, MAX / 2);
    polls[0]?.abort();
    await at.park(1, 'empty');
    assert.deepEqual(await at.poll('empty').reply, { outcome: 'too_many_waiters' });
    at.broker.drain();
  });
});
