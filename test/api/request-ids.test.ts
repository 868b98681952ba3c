import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { STORE_HARNESSES } from '../support/stores.ts';
import { until } from '../support/until.ts';
import { ApiApp, assertInvalid, assertProblem, type Body, countsOf, MAX_WAITERS, onEveryStore } from './api-app.ts';
import type { HttpCall } from './http-call.ts';

const WAIT = { waitMs: 60_000 };

/** What a reply says about who holds what. */
function leases(tasks: Body[]): [string, string][] {
  return tasks.map(({ id, lease }) => [id, lease.token]);
}

async function leasesOf(call: HttpCall): Promise<[string, string][]> {
  const reply = await call.reply;
  assert.equal(reply.status, 200, reply.text);
  return leases(reply.body.tasks);
}

/** Asserts that the token is that of a lease that runs. */
async function assertRuns(app: ApiApp, [id, token]: [string, string] | undefined = ['', '']): Promise<void> {
  const reply = await app.post(`/tasks/${id}/heartbeat`, { leaseToken: token });
  assert.equal(reply.status, 200, reply.text);
}

/** The server knows of no connection, so that it has noticed who has gone. */
async function allGone(app: ApiApp): Promise<void> {
  await until(() => app.connections === 0, {
    what: 'the server has noticed that its clients have gone',
  });
}

describe('request ids', () => {
  onEveryStore((app, another) => {
    for (const method of ['GET', 'POST'] as const) {
      test(`${method} asked again with the same id answers the same leases, and grants nothing new`, async () => {
        const queue = app().newQueue();
        for (let count = 0; count < 3; count++) await app().enqueue({ queue });
        const first = await leasesOf(app().poll({ queue, max: 2, waitMs: 0, requestId: 'r' }, method));
        assert.equal(first.length, 2);
        assert.deepEqual(await leasesOf(app().poll({ queue, max: 3, waitMs: 0, requestId: 'r' }, method)), first);
        assert.deepEqual(await leasesOf(app().poll({ queue, max: 1, ...WAIT, requestId: 'r' }, method)), first);
        assert.deepEqual(await countsOf(app(), queue), { ready: 1, leased: 2, dead: 0 });
      });
    }

    test('answers those of its leases that still run; when none does, it is a new call', async () => {
      const queue = app().newQueue();
      for (let count = 0; count < 3; count++) await app().enqueue({ queue });
      const asked = { queue, max: 2, waitMs: 0, requestId: 'r' };
      const [first, second] = await leasesOf(app().poll(asked));
      assert.ok(first && second);
      await app().post(`/tasks/${first[0]}/ack`, { leaseToken: first[1] });
      assert.deepEqual(await leasesOf(app().poll(asked)), [second]);
      await app().post(`/tasks/${second[0]}/release`, { leaseToken: second[1] });
      const [third, fourth] = await leasesOf(app().poll(asked));
      assert.ok(third && fourth);
      assert.equal(third[0], second[0]);
      assert.notEqual(third[1], second[1]);
    });

    test('a lease that ran out is not answered again', async () => {
      const queue = app().newQueue();
      await app().enqueue({ queue, leaseMs: 1000 });
      const [first] = await leasesOf(app().poll({ queue, waitMs: 0, requestId: 'r' }));
      await app().advance(1001);
      const [second] = await leasesOf(app().poll({ queue, waitMs: 0, requestId: 'r' }));
      assert.ok(first && second);
      assert.equal(second[0], first[0]);
      assert.notEqual(second[1], first[1]);
    });

    test('two polls under way with one id share one grant', async () => {
      for (const method of ['GET', 'POST'] as const) {
        const queue = app().newQueue();
        const first = await app().park(queue, { requestId: 'r' });
        const second = await app().polling({ queue, ...WAIT, requestId: 'r' }, method);
        const { id } = await app().enqueue({ queue });
        await app().enqueue({ queue });
        const granted = await leasesOf(first);
        assert.equal(granted[0]?.[0], id);
        assert.deepEqual(await leasesOf(second), granted);
        assert.deepEqual(await countsOf(app(), queue), { ready: 1, leased: 1, dead: 0 });
      }
    });

    test('of two polls with one id the second gets the grant when the first has gone', async () => {
      const queue = app().newQueue();
      const first = await app().park(queue, { requestId: 'r' });
      const second = await app().polling({ queue, ...WAIT, requestId: 'r' });
      first.hangUp();
      await until(() => app().connections === 1, { what: 'the first has gone' });
      await app().enqueue({ queue });
      const [granted] = (await second.reply).body.tasks;
      assert.equal(granted.lease.fence, 1, 'nothing was given back');
      await assertRuns(app(), [granted.id, granted.lease.token]);
    });

    test('and also when the first goes while the task is being granted', async () => {
      const queue = app().newQueue();
      const first = await app().park(queue, { requestId: 'r' });
      const second = await app().polling({ queue, ...WAIT, requestId: 'r' });
      const hold = app().watch.hold('reply', 'lease');
      await app().enqueue({ queue });
      await until(() => hold.held === 1);
      first.hangUp();
      await until(() => app().connections === 1, { what: 'the first has gone' });
      hold.release();
      const [granted] = (await second.reply).body.tasks;
      assert.equal(granted.lease.fence, 1, 'nothing was given back');
      await assertRuns(app(), [granted.id, granted.lease.token]);
    });

    test('when both have gone nothing is leased', async () => {
      const queue = app().newQueue();
      const first = await app().park(queue, { requestId: 'r' });
      const second = await app().polling({ queue, ...WAIT, requestId: 'r' });
      first.hangUp();
      second.hangUp();
      await until(() => app().broker.waiters(queue) === 0, { what: 'the waiter has left' });
      await app().enqueue({ queue });
      assert.deepEqual(await countsOf(app(), queue), { ready: 1, leased: 0, dead: 0 });
    });

    test('when both go while the task is being granted it is given back with its attempt and place', async () => {
      const queue = app().newQueue();
      const first = await app().park(queue, { requestId: 'r' });
      const second = await app().polling({ queue, ...WAIT, requestId: 'r' });
      const hold = app().watch.hold('reply', 'lease');
      const { id } = await app().enqueue({ queue });
      await app().enqueue({ queue });
      await until(() => hold.held === 1);
      first.hangUp();
      second.hangUp();
      await allGone(app());
      hold.release();
      await until(async () => (await countsOf(app(), queue)).ready === 2, { what: 'it is given back' });
      const [again] = await app().lease(queue);
      assert.deepEqual([again.id, again.attempt, again.lease.fence], [id, 1, 2]);
    });

    test('a poll that asks again while the call of one that has gone is under way gets a lease that runs', async () => {
      for (const [waited, waitMs] of [
        [0, 60_000],
        [60_000, 60_000],
        [60_000, 0],
      ] as const) {
        const queue = app().newQueue();
        const hold = app().watch.hold('reply', 'lease');
        const { id } = await app().enqueue({ queue });
        const first = app().poll({ queue, waitMs: waited, requestId: 'r' });
        await until(() => hold.held === 1);
        first.hangUp();
        await allGone(app());
        const second = await app().polling({ queue, waitMs, requestId: 'r' });
        hold.release();
        const [granted] = await leasesOf(second);
        assert.equal(granted?.[0], id);
        await app().watch.quiet();
        await assertRuns(app(), granted);
      }
    });

    test('a poll that asks again while its task is being given back gets a lease that runs', async () => {
      const queue = app().newQueue();
      const { id } = await app().enqueue({ queue });
      const lease = app().watch.hold('reply', 'lease');
      const first = app().poll({ queue, waitMs: 0, requestId: 'r' });
      await until(() => lease.held === 1);
      first.hangUp();
      await allGone(app());
      const giveBack = app().watch.hold('call', 'settle');
      lease.release();
      await until(() => giveBack.held === 1, { what: 'it is being given back' });
      const second = await app().polling({ queue, ...WAIT, requestId: 'r' });
      await until(() => app().watch.calls('settle') - app().watch.replies('settle') === 1);
      giveBack.release();
      const [granted] = await leasesOf(second);
      assert.equal(granted?.[0], id);
      await app().watch.quiet();
      await assertRuns(app(), granted);
    });

    test('a poll whose client has gone before it could wait does not wait', async () => {
      const queue = app().newQueue();
      const hold = app().watch.hold('reply', 'recall');
      const poll = app().poll({ queue, ...WAIT, requestId: 'r' });
      await until(() => hold.held === 1);
      poll.hangUp();
      await allGone(app());
      hold.release();
      await app().watch.quiet();
      assert.equal(app().broker.waiters(queue), 0);
      await app().enqueue({ queue });
      assert.deepEqual(await countsOf(app(), queue), { ready: 1, leased: 0, dead: 0 });
    });

    test('holds over several queues', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      const { id } = await app().enqueue({ queue: one });
      await app().enqueue({ queue: two });
      const asked = { queue: [one, two], max: 2, requestId: 'r' };
      const granted = await leasesOf(app().poll({ ...asked, waitMs: 0 }));
      assert.equal(granted.length, 2);
      assert.deepEqual(await leasesOf(app().poll({ ...asked, ...WAIT })), granted);
      await app().post(`/tasks/${id}/ack`, { leaseToken: granted[0]?.[1] });
      assert.deepEqual(await leasesOf(app().poll({ ...asked, waitMs: 0 })), granted.slice(1));
    });

    test('a poll of several queues that is parked shares its grant too', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      const asked = { queue: [one, two], ...WAIT, requestId: 'r' };
      const first = await app().polling(asked);
      const second = await app().polling(asked);
      await app().watch.quiet();
      await app().enqueue({ queue: two });
      const granted = await leasesOf(first);
      assert.equal(granted.length, 1);
      assert.deepEqual(await leasesOf(second), granted);
      assert.equal(app().broker.waiters(one), 0);
    });

    test('different ids do not mix, whatever is in them', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      const polls: HttpCall[] = [];
      for (const asked of [
        { queue: [one, two], requestId: 'r' },
        { queue: [two], requestId: `r\n${one}` },
        { queue: [two], requestId: 'R' },
        { queue: [two], requestId: 'r ' },
        { queue: [two], requestId: 'ack:x' },
      ]) {
        polls.push(await app().polling({ ...asked, ...WAIT }));
      }
      await app().watch.quiet();
      assert.equal(app().broker.waiters(two), polls.length, 'each waits for itself');
      for (const _ of polls) await app().enqueue({ queue: two });
      const granted = (await Promise.all(polls.map(leasesOf))).flat();
      assert.equal(new Set(granted.map(([id]) => id)).size, polls.length);
      assert.deepEqual(await leasesOf(app().poll({ queue: two, waitMs: 0, requestId: 'R' })), granted.slice(2, 3));
    });

    test('one id asks for each queue by itself', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      for (const queue of [one, two]) await app().enqueue({ queue });
      const [first] = await leasesOf(app().poll({ queue: one, waitMs: 0, requestId: 'r' }));
      const [second] = await leasesOf(app().poll({ queue: two, waitMs: 0, requestId: 'r' }));
      assert.ok(first && second);
      assert.notEqual(first[0], second[0]);
      const parked = [await app().park(one, { requestId: 's' }), await app().park(two, { requestId: 's' })];
      const third = await app().enqueue({ queue: two });
      assert.equal((await leasesOf(parked[1] ?? assert.fail()))[0]?.[0], third.id);
      assert.equal(app().broker.waiters(one), 1);
      parked[0]?.hangUp();
    });

    test('a parked poll answers by its id what came while it waited', async () => {
      const queue = app().newQueue();
      const poll = await app().park(queue, { requestId: 'r' });
      await app().enqueue({ queue });
      const granted = await leasesOf(poll);
      assert.equal(granted.length, 1);
      assert.deepEqual(await leasesOf(app().poll({ queue, ...WAIT, requestId: 'r' })), granted);
    });

    test('each poll ends its wait by itself: one that does not wait is answered while the other is parked', async () => {
      const queue = app().newQueue();
      const parked = await app().park(queue, { requestId: 'r' });
      assert.deepEqual(await leasesOf(app().poll({ queue, waitMs: 0, requestId: 'r' })), []);
      assert.deepEqual(await leasesOf(app().poll({ queue, waitMs: 30, requestId: 'r' })), []);
      assert.equal(app().broker.waiters(queue), 1);
      await app().enqueue({ queue });
      assert.equal((await leasesOf(parked)).length, 1);
    });

    test('and one that waits longer than the one it shares a call with goes on waiting', async () => {
      const queue = app().newQueue();
      const short = await app().polling({ queue, waitMs: 100, requestId: 'r' });
      const long = await app().polling({ queue, ...WAIT, requestId: 'r' });
      assert.deepEqual(await leasesOf(short), []);
      await until(() => app().broker.waiters(queue) === 1, { what: 'the other one waits' });
      await app().watch.quiet();
      await app().enqueue({ queue });
      assert.equal((await leasesOf(long)).length, 1);
    });

    test('polls that share a call count as waiters each', async () => {
      const queue = app().newQueue();
      const polls: HttpCall[] = [await app().park(queue, { requestId: 'r' })];
      while (polls.length < MAX_WAITERS) polls.push(await app().polling({ queue, ...WAIT, requestId: 'r' }));
      assertProblem(await app().poll({ queue, ...WAIT, requestId: 'r' }).reply, 429, 'too_many_waiters');
      assertProblem(await app().poll({ queue: app().newQueue(), ...WAIT }).reply, 429, 'too_many_waiters');
      polls.pop()?.hangUp();
      await until(() => app().connections === polls.length, { what: 'one has gone' });
      polls.push(await app().polling({ queue, ...WAIT, requestId: 'r' }));
      await app().enqueue({ queue });
      const granted = await Promise.all(polls.map(leasesOf));
      for (const one of granted) assert.deepEqual(one, granted[0]);
      assert.equal((await countsOf(app(), queue)).leased, 1);
    });

    test('no more than may wait get in while it is looked up what they had', async () => {
      const queue = app().newQueue();
      const hold = app().watch.hold('reply', 'recall');
      const polls: HttpCall[] = [];
      for (let count = 0; count < MAX_WAITERS + 10; count++) {
        polls.push(app().poll({ queue, ...WAIT, requestId: `r-${count}` }));
      }
      await until(() => hold.held === MAX_WAITERS + 10);
      hold.release();
      await app().watch.quiet();
      assert.equal(app().broker.waiters(queue), MAX_WAITERS);
      for (const poll of polls) poll.hangUp();
      await until(() => app().broker.waiters(queue) === 0, { what: 'all have left' });
      await allGone(app());
    });

    test('when the broker drains all who share a call get their empty answer', async () => {
      const other = await another();
      try {
        const queue = other.newQueue();
        const polls = [
          await other.park(queue, { requestId: 'r' }),
          await other.polling({ queue, ...WAIT, requestId: 'r' }),
        ];
        other.broker.drain();
        for (const poll of polls) assert.deepEqual(await leasesOf(poll), []);
        assert.deepEqual(await leasesOf(other.poll({ queue, ...WAIT, requestId: 'r' })), []);
      } finally {
        await other.stop();
      }
    });

    test('is of 1 to 128 characters', async () => {
      const queue = app().newQueue();
      const of = (requestId: string): string =>
        `/tasks/lease?queue=${queue}&waitMs=0&requestId=${encodeURIComponent(requestId)}`;
      for (const fine of ['r', 'x'.repeat(128), '😀'.repeat(128), '{}|,:*"', ' ', '__proto__']) {
        assert.equal((await app().get(of(fine))).status, 200, fine);
        assert.equal((await app().post('/tasks/lease', { queue, waitMs: 0, requestId: fine })).status, 200, fine);
      }
      for (const bad of ['', 'x'.repeat(129), '😀'.repeat(129)]) {
        assertInvalid(await app().get(of(bad)), '/requestId');
        assertInvalid(await app().post('/tasks/lease', { queue, waitMs: 0, requestId: bad }), '/requestId');
      }
      for (const bad of [7, null, ['r'], '\ud800']) {
        assertInvalid(await app().post('/tasks/lease', { queue, waitMs: 0, requestId: bad }), '/requestId');
      }
    });
  });
});

describe('a grant with a request id is delivered when any reply with it was written', () => {
  const harness = STORE_HARNESSES.sqlite();
  let started: ApiApp | undefined;
  before(async () => {
    started = await ApiApp.start(harness);
  });
  after(async () => {
    try {
      await started?.stop();
    } finally {
      await harness.stop();
    }
  });
  const app = (): ApiApp => started ?? assert.fail();

  const COUNT = 100;

  /** More than the operating system takes from a server whose client reads nothing. */
  async function manyLargeTasks(queue: string): Promise<void> {
    const tasks = Array.from({ length: 25 }, () => ({ queue, payload: 'x'.repeat(200_000) }));
    for (let batch = 0; batch < COUNT / 25; batch++) {
      assert.equal((await app().post('/tasks/batch', { tasks })).status, 201);
    }
  }

  /** A client that asks and never reads the reply. */
  async function deafPoll(queue: string, waitMs: number): Promise<Socket> {
    const before = app().taken.leases;
    const socket = connect(app().port, '127.0.0.1');
    await once(socket, 'connect');
    socket.pause();
    const query = `queue=${queue}&max=${COUNT}&waitMs=${waitMs}&requestId=r`;
    socket.write(`GET /tasks/lease?${query} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until(() => app().taken.leases === before + 1, { what: 'the broker has the poll' });
    await app().watch.quiet();
    return socket;
  }

  async function reset(socket: Socket): Promise<void> {
    socket.resetAndDestroy();
    await allGone(app());
    await app().watch.quiet();
  }

  const asked = { max: COUNT, waitMs: 0, requestId: 'r' };

  test('a client that repeats its call and hangs up does not lose what it was told before', async () => {
    const queue = app().newQueue();
    await manyLargeTasks(queue);
    const granted = await leasesOf(app().poll({ queue, ...asked }));
    await reset(await deafPoll(queue, 0));
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: COUNT, dead: 0 });
    await assertRuns(app(), granted[0]);
  });

  test('the connection on which it was asked first may end after the second one was answered', async () => {
    const queue = app().newQueue();
    await manyLargeTasks(queue);
    const first = await deafPoll(queue, 0);
    const granted = await leasesOf(app().poll({ queue, ...asked }));
    assert.equal(granted.length, COUNT);
    await reset(first);
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: COUNT, dead: 0 });
    await assertRuns(app(), granted[0]);
  });

  test('when none was written it is given back', async () => {
    const queue = app().newQueue();
    await manyLargeTasks(queue);
    const sockets = [await deafPoll(queue, 0), await deafPoll(queue, 0)];
    assert.equal((await countsOf(app(), queue)).leased, COUNT);
    for (const socket of sockets) socket.resetAndDestroy();
    await until(async () => (await countsOf(app(), queue)).ready === COUNT, { what: 'all are given back' });
    const [again] = await app().lease(queue);
    assert.deepEqual([again.attempt, again.lease.fence], [1, 2]);
  });
});
