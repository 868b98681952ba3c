import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Grant } from '../../src/domain/task.ts';
import { NamedLeases } from '../../src/broker/named-leases.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { until } from '../support/until.ts';
import { type Poll, RunningBroker } from './running-broker.ts';

const NAMED = { requestId: 'r', waitMs: 0 };

describe('what is granted under a request id', () => {
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

  /** Grants of polls that are answered together: one grant told in several replies. */
  async function shared(count: number): Promise<readonly (readonly Grant[])[]> {
    const polls = await at.park(count, 'q', { requestId: 'r' });
    await at.enqueue('q', 2);
    return Promise.all(polls.map(({ grants }) => grants));
  }

  async function counts(): Promise<{ ready: number; leased: number }> {
    const { ready, leased } = (await at.queue('q')).counts;
    return { ready, leased };
  }

  const KEPT = { ready: 1, leased: 1 };
  const GIVEN_BACK = { ready: 2, leased: 0 };

  /** What became of each of three replies, in the order in which it is known. */
  const FATES: [string, string, object][] = [
    ['all were written', 'www', KEPT],
    ['one was written first', 'wll', KEPT],
    ['one was written between', 'lwl', KEPT],
    ['one was written last', 'llw', KEPT],
    ['none was written', 'lll', GIVEN_BACK],
  ];
  for (const [name, fates, expected] of FATES) {
    test(`of three replies ${name}`, async () => {
      const replies = await shared(3);
      for (const [index, grants] of replies.entries()) {
        assert.equal(grants.length, 1);
        if (fates[index] === 'w') at.broker.delivered(grants);
        else await at.broker.giveBack(grants);
      }
      assert.deepEqual(await counts(), expected);
    });
  }

  test('is told again while it is not known yet whether the first reply was written, and then shares its fate', async () => {
    await at.enqueue('q', 2);
    const first = await at.poll('q', NAMED).grants;
    const second = await at.poll('q', NAMED).grants;
    assert.deepEqual(second, first);
    await at.broker.giveBack(first);
    assert.deepEqual(await counts(), KEPT, 'the second reply may still be written');
    const third = await at.poll('q', NAMED).grants;
    await at.broker.giveBack(second);
    assert.deepEqual(await counts(), KEPT);
    await at.broker.giveBack(third);
    assert.deepEqual(await counts(), GIVEN_BACK);
  });

  test('is not given back while a call that will tell of it again is under way', async () => {
    await at.enqueue('q', 2);
    const first = await at.poll('q', NAMED).grants;
    const hold = at.watch.hold('reply', 'recall');
    const poll = at.poll('q', NAMED);
    await until(() => hold.held === 1, { what: 'the store has said what there is' });
    const giving = at.broker.giveBack(first);
    hold.release();
    const second = await poll.grants;
    assert.deepEqual(second, first);
    await giving;
    assert.deepEqual(await counts(), KEPT);
    at.broker.delivered(second);
    assert.deepEqual(await counts(), KEPT);
  });

  test('is given back when the call under way is of one who has gone', async () => {
    await at.enqueue('q', 2);
    const first = await at.poll('q', NAMED).grants;
    const hold = at.watch.hold('reply', 'recall');
    const poll = at.poll('q', NAMED);
    await until(() => hold.held === 1);
    poll.abort();
    const giving = at.broker.giveBack(first);
    hold.release();
    assert.deepEqual(await poll.grants, []);
    await giving;
    assert.deepEqual(await counts(), GIVEN_BACK);
  });

  test('stays with the worker that was told of it, whatever becomes of a later reply', async () => {
    await at.enqueue('q', 2);
    at.broker.delivered(await at.poll('q', NAMED).grants);
    const again = await at.poll('q', NAMED).grants;
    assert.equal(again.length, 1);
    await at.broker.giveBack(again);
    assert.deepEqual(await counts(), KEPT);
    const gone = at.poll('q', NAMED);
    gone.abort();
    await gone.grants;
    assert.deepEqual(await counts(), KEPT);
  });

  test('is not told to a call that comes while it is being given back', async () => {
    await at.enqueue('q');
    const first = await at.poll('q', NAMED).grants;
    const hold = at.watch.hold('call', 'settle');
    const giving = at.broker.giveBack(first);
    await until(() => hold.held === 1);
    const poll = at.poll('q', { requestId: 'r' });
    hold.release();
    const [second] = await poll.grants;
    await giving;
    assert.ok(second);
    assert.equal(second.task.deliveries, 2);
    const { results } = await at.broker.settle([
      { verb: 'ack', id: second.task.id, token: second.token, result: null },
    ]);
    assert.equal(results[0]?.outcome, 'settled');
  });

  test('what was settled meanwhile is not touched by a reply that is lost', async () => {
    await at.enqueue('q', 2);
    const first = await at.poll('q', NAMED).grants;
    const [grant] = first;
    assert.ok(grant);
    await at.broker.settle([{ verb: 'ack', id: grant.task.id, token: grant.token, result: null }]);
    await at.broker.giveBack(first);
    assert.equal((await at.broker.task(grant.task.id))?.state, 'completed');
    assert.deepEqual(await counts(), { ready: 1, leased: 0 });
  });

  test('an error is told to all who share the call', async () => {
    const hold = at.watch.hold('reply', 'recall');
    const polls: Poll[] = [at.poll('q', { requestId: 'r' }), at.poll('q', { requestId: 'r' })];
    await until(() => hold.held === 1);
    const told = polls.map(({ reply }) => assert.rejects(reply, /away/));
    at.watch.fail('lease', new Error('away'));
    hold.release();
    await Promise.all(told);
    at.watch.fail('lease', null);
    await at.enqueue('q');
    assert.equal((await at.poll('q', NAMED).grants).length, 1);
  });

  test('who shares a call and goes leaves no trace', async () => {
    const polls = await at.park(10, 'q', { requestId: 'r' });
    for (const poll of polls.slice(0, 9)) {
      poll.abort();
      assert.deepEqual(await poll.grants, []);
    }
    assert.equal(at.broker.waiters('q'), 1);
    polls[9]?.abort();
    assert.deepEqual(await polls[9]?.grants, []);
    assert.equal(at.broker.waiters('q'), 0);
  });
});

test('a grant is forgotten when it is known what became of all its replies', async () => {
  const store = new SqliteStore({ path: ':memory:', durability: 'full' });
  await store.open();
  const at = new RunningBroker(store);
  await at.enqueue('q', 6);
  const grants = await at.poll('q', { max: 6, waitMs: 0 }).grants;
  const named = new NamedLeases(async () => {});
  const asking = { requestId: 'r', waitMs: null, signal: new AbortController().signal, hasRoom: () => true };
  /** Granted to two who ask together. */
  const call = async (name: string, grant: Grant): Promise<readonly Grant[]> => {
    const ask = () => named.call(name, asking, async () => ({ outcome: 'granted', grants: [grant] }));
    const replies = await Promise.all([ask(), ask()]);
    return replies.flatMap((reply) => (reply.outcome === 'granted' ? reply.grants : assert.fail(reply.outcome)));
  };
  for (const [index, fates] of ['ww', 'wl', 'lw', 'll'].entries()) {
    const told = await call(fates, grants[index] ?? assert.fail());
    assert.equal(told.length, 2);
    for (const [reply, grant] of told.entries()) {
      assert.equal(named.undecided, 1, fates);
      if (fates[reply] === 'w') named.written([grant]);
      else await named.lost([grant]);
    }
    assert.equal(named.undecided, 0, fates);
  }
  await at.broker.stop();
  await store.close();
});
