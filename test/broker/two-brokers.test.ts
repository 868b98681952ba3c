import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { numbers, RunningBroker } from './running-broker.ts';

describe('two brokers on one Redis', () => {
  let server: RedisServer;
  const stores: RedisStore[] = [];
  let here: RunningBroker;
  let there: RunningBroker;
  before(async () => {
    server = await startRedis();
    for (let count = 0; count < 2; count++) {
      const store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 4, durability: 'default' });
      await store.open();
      stores.push(store);
    }
    [here, there] = stores.map((store) => new RunningBroker(store)) as [RunningBroker, RunningBroker];
  });
  after(async () => {
    for (const { broker } of [here, there]) await broker.stop();
    for (const store of stores) await store.close();
    await server.stop();
  });

  test('a task that is stored at one wakes a poll that is parked at the other', async () => {
    const polls = await here.park(3, 'woken');
    await there.enqueue('woken', 3);
    assert.deepEqual((await Promise.all(polls.map(numbers))).flat(), [0, 1, 2]);
  });

  test('a task that ends at one ends the wait for it at the other', async () => {
    const [task] = await there.enqueue('ended');
    const { id = '' } = task ?? {};
    const wait = here.broker.finishedTask(id, 60_000, new AbortController().signal);
    await until(() => here.watch.replies('get') >= 2, { what: 'the wait has begun' });
    await there.broker.cancel({ id, reason: null, force: false });
    assert.equal(Object(await wait).state, 'cancelled');
  });

  test('polls with one request id at both share one grant', async () => {
    const polls = [
      ...(await here.park(1, 'named', { requestId: 'r' })),
      ...(await there.park(1, 'named', { requestId: 'r' })),
    ];
    await there.enqueue('named', 2);
    const [one, two] = await Promise.all(polls.map(({ grants }) => grants));
    assert.equal(one?.length, 1);
    assert.deepEqual(
      one?.map(({ token }) => token),
      two?.map(({ token }) => token),
    );
    assert.equal((await here.queue('named')).counts.leased, 1);
  });

  test('what one was granted under a request id is not given back when the other has told of it', async () => {
    const asked = { requestId: 'r', waitMs: 0 };
    await here.enqueue('told', 2);
    const lost = await here.poll('told', asked).grants;
    const told = await there.poll('told', asked).grants;
    assert.deepEqual(told, lost);
    await here.broker.giveBack(lost);
    const [grant] = told;
    assert.ok(grant);
    const { results } = await there.broker.settle([
      { verb: 'ack', id: grant.task.id, token: grant.token, result: null },
    ]);
    assert.equal(results[0]?.outcome, 'settled');
    const { totals } = await here.queue('told');
    assert.deepEqual([totals.leased, totals.released], [1, 0]);
  });

  test('nor when the client of the one had gone before the reply came', async () => {
    const asked = { requestId: 'r', waitMs: 0 };
    await here.enqueue('gone', 2);
    const hold = here.watch.hold('reply', 'lease');
    const gone = here.poll('gone', asked);
    await until(() => hold.held === 1, { what: 'it is granted' });
    const [told] = await there.poll('gone', asked).grants;
    gone.abort();
    hold.release();
    assert.deepEqual(await gone.grants, []);
    // Nor by the other, which does not know what became of the first reply.
    await there.broker.giveBack([told ?? assert.fail()]);
    const { totals } = await here.queue('gone');
    assert.deepEqual([totals.leased, totals.released], [1, 0]);
  });

  test('what was given back before the other asked is not found by it', async () => {
    const asked = { requestId: 'r', waitMs: 0 };
    await here.enqueue('back');
    const lost = await here.poll('back', asked).grants;
    await here.broker.giveBack(lost);
    const [told] = await there.poll('back', asked).grants;
    assert.deepEqual([told?.task.attempt, told?.task.deliveries], [1, 2]);
    assert.notEqual(told?.token, lost[0]?.token);
  });
});
