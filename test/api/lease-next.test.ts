import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StoreError } from '../../src/store/store.ts';
import { until } from '../support/until.ts';
import { type ApiApp, assertInvalid, assertProblem, countsOf, onEveryStore } from './api-app.ts';
import type { HttpCall } from './http-call.ts';

type Held = { id: string; token: string; queue: string };

describe('leaseNext', () => {
  onEveryStore((app, another) => {
    /** A leased task in a queue in which more are ready. */
    async function held(more: number): Promise<Held> {
      const first = await app().leased();
      for (let count = 0; count < more; count++) await app().enqueue({ queue: first.queue, payload: count });
      return first;
    }

    function ack({ id, token }: Held, leaseNext?: object): HttpCall {
      const body = { leaseToken: token, ...(leaseNext === undefined ? {} : { leaseNext }) };
      return app().begin('POST', `/tasks/${id}/ack`, { body });
    }

    /** What an ack answers as leased next: id and token of each. */
    async function nextOf(call: HttpCall): Promise<[string, string][]> {
      const reply = await call.reply;
      assert.equal(reply.status, 200, reply.text);
      assert.equal(reply.body.state, 'completed');
      return reply.body.next.map(({ id, lease }) => [id, lease.token]);
    }

    async function assertRuns(of: ApiApp, [id, token]: [string, string] | undefined = ['', '']): Promise<void> {
      const reply = await of.post(`/tasks/${id}/heartbeat`, { leaseToken: token });
      assert.equal(reply.status, 200, reply.text);
    }

    test('answers the next tasks of the queue in order, leased as asked', async () => {
      const first = await held(3);
      const reply = await ack(first, { max: 2, leaseMs: 5000, workerId: 'w-1' }).reply;
      const { next } = reply.body;
      assert.deepEqual(
        next.map(({ payload, state, attempt }) => [payload, state, attempt]),
        [
          [0, 'leased', 1],
          [1, 'leased', 1],
        ],
      );
      for (const task of next) {
        assert.equal(task.queue, first.queue);
        assert.equal(task.lease.workerId, 'w-1');
        assert.ok(task.lease.remainingMs > 3000 && task.lease.remainingMs <= 5000);
        await assertRuns(app(), [task.id, task.lease.token]);
      }
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 2, dead: 0 });
    });

    test('leases one when it says no more', async () => {
      assert.equal((await nextOf(ack(await held(2), {}))).length, 1);
    });

    test('an ack that does not ask for it leases nothing', async () => {
      const first = await held(1);
      assert.deepEqual(await nextOf(ack(first)), []);
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 0, dead: 0 });
    });

    test('a worker runs through a queue with acks alone', async () => {
      let current: Held | null = await held(5);
      const { queue } = current;
      let done = 0;
      while (current !== null) {
        const [next]: [string, string][] = await nextOf(ack(current, { max: 1 }));
        done++;
        current = next === undefined ? null : { queue, id: next[0], token: next[1] };
      }
      assert.equal(done, 6);
      assert.equal((await app().get(`/queues/${queue}/stats`)).body.completed, 6);
    });

    test('a repeated ack answers those of its first outcome that still run, and leases nothing new', async () => {
      const first = await held(4);
      const next = await nextOf(ack(first, { max: 3 }));
      assert.equal(next.length, 3);
      const again = await ack(first, { max: 100 }).reply;
      assert.equal(again.body.replayed, true);
      assert.deepEqual(
        again.body.next.map(({ id, lease }) => [id, lease.token]),
        next,
      );
      const [one, two, three] = next;
      assert.ok(one && two && three);
      await app().post(`/tasks/${one[0]}/ack`, { leaseToken: one[1] });
      await app().post(`/tasks/${two[0]}/nack`, { leaseToken: two[1] });
      assert.deepEqual(await nextOf(ack(first, { max: 3 })), [three]);
      await app().post(`/tasks/${three[0]}/release`, { leaseToken: three[1] });
      assert.deepEqual(await nextOf(ack(first, { max: 3 })), []);
      assert.deepEqual(await nextOf(ack(first)), []);
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 2, leased: 0, dead: 0 });
    });

    test('a repeated ack leases nothing where the first one found nothing, or did not ask', async () => {
      for (const leaseNext of [{ max: 1 }, undefined]) {
        const first = await held(0);
        assert.deepEqual(await nextOf(ack(first, leaseNext)), []);
        await app().enqueue({ queue: first.queue });
        assert.deepEqual(await nextOf(ack(first, { max: 1 })), []);
        assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 0, dead: 0 });
      }
    });

    test('a request id that a client makes up finds nothing of what acks have leased', async () => {
      const first = await held(2);
      const [next] = await nextOf(ack(first, { max: 1 }));
      const requestId = `ack:${first.id}:${first.token}`;
      const { body } = await app().poll({ queue: first.queue, waitMs: 0, requestId }).reply;
      assert.equal(body.tasks.length, 1);
      assert.notEqual(body.tasks[0].id, next?.[0]);
    });

    test('a refused ack leases nothing', async () => {
      const lost = await held(1);
      assertProblem(await ack({ ...lost, token: 'made-up' }, {}).reply, 409, 'lease_lost');
      const settled = await held(1);
      await app().post(`/tasks/${settled.id}/nack`, { leaseToken: settled.token, retryable: false });
      assertProblem(await ack(settled, {}).reply, 409, 'already_settled');
      const cancelled = await held(1);
      await app().post(`/tasks/${cancelled.id}/cancel`, { force: true });
      assertProblem(await ack(cancelled, {}).reply, 409, 'task_cancelled');
      const unknown = await held(1);
      assertProblem(await ack({ ...unknown, id: 'nope' }, {}).reply, 404, 'task_not_found');
      for (const { queue } of [lost, settled, cancelled, unknown]) {
        assert.equal((await countsOf(app(), queue)).ready, 1, queue);
      }
    });

    test('a late ack leases too', async () => {
      const first = await app().leased({ leaseMs: 1000 });
      await app().advanceUnswept(1001);
      const { id } = await app().enqueue({ queue: first.queue });
      const reply = await ack(first, {}).reply;
      assert.equal(reply.body.late, true);
      assert.equal(reply.body.next[0].id, id);
    });

    test('is empty when the queue is, or is paused', async () => {
      assert.deepEqual(await nextOf(ack(await held(0), { max: 10 })), []);
      const first = await held(1);
      await app().post(`/queues/${first.queue}/pause`);
      assert.deepEqual(await nextOf(ack(first, { max: 10 })), []);
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 0, dead: 0 });
    });

    test('takes from no other queue', async () => {
      await held(1);
      assert.deepEqual(await nextOf(ack(await held(0), { max: 100 })), []);
    });

    test('a refused body settles nothing', async () => {
      const first = await held(1);
      assertInvalid(await ack(first, { max: 101 }).reply, '/leaseNext/max');
      assertInvalid(await ack(first, { waitMs: 1 }).reply, '/leaseNext/waitMs');
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 1, dead: 0 });
      const items = [{ id: first.id, leaseToken: first.token, op: 'ack', leaseNext: { max: 1 } }];
      assertInvalid(await app().post('/leases/settle', { items }), '/items/0/leaseNext');
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 1, dead: 0 });
    });

    test('when the client has gone before the reply the ack stands, and what was leased next is given back', async () => {
      const first = await held(2);
      const hold = app().watch.hold('reply', 'lease');
      const call = ack(first, { max: 1 });
      await until(() => hold.held === 1);
      call.hangUp();
      await until(() => app().connections === 0, { what: 'the server has noticed' });
      hold.release();
      await until(async () => (await countsOf(app(), first.queue)).ready === 2, { what: 'it is given back' });
      assert.equal((await app().get(`/tasks/${first.id}`)).body.state, 'completed');
      const [again] = await app().lease(first.queue);
      assert.deepEqual([again.payload, again.attempt, again.lease.fence], [0, 1, 2]);
      assert.deepEqual(await nextOf(ack(first, { max: 1 })), [], 'nothing of it runs any more');
    });

    test('a broker that stops meanwhile gives it back first', async () => {
      const other = await another();
      try {
        const first = await other.leased();
        await other.enqueue({ queue: first.queue });
        const hold = other.watch.hold('reply', 'lease');
        const body = { leaseToken: first.token, leaseNext: { max: 1 } };
        const call = other.begin('POST', `/tasks/${first.id}/ack`, { body });
        await until(() => hold.held === 1);
        call.hangUp();
        await until(() => other.connections === 0, { what: 'the server has noticed' });
        const stopping = other.broker.stop();
        hold.release();
        await stopping;
        assert.equal((await other.store.queue(first.queue)).queue?.counts.leased, 0);
      } finally {
        await other.stop();
      }
    });

    test('an ack repeated while the first one is leasing shares what that is granted, whoever goes', async () => {
      const first = await held(2);
      const hold = app().watch.hold('reply', 'lease');
      const call = ack(first, { max: 1 });
      await until(() => hold.held === 1);
      const settles = app().watch.replies('settle');
      const again = ack(first, { max: 1 });
      await until(() => app().watch.replies('settle') === settles + 1, { what: 'the second one is settled' });
      call.hangUp();
      await until(() => app().connections === 1, { what: 'the first client has gone' });
      hold.release();
      const [next] = await nextOf(again);
      await app().watch.quiet();
      await assertRuns(app(), next);
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 1, dead: 0 });
    });

    test('a client that repeats an ack and hangs up does not lose what it was told before', async () => {
      const first = await held(1);
      const [next] = await nextOf(ack(first, { max: 1 }));
      const hold = app().watch.hold('reply', 'recall');
      const again = ack(first, { max: 1 });
      await until(() => hold.held === 1);
      again.hangUp();
      await until(() => app().connections === 0, { what: 'the server has noticed' });
      hold.release();
      await app().watch.quiet();
      await assertRuns(app(), next);
    });

    test('the ack stands when the lease fails: the worker is told, and polls for more', async () => {
      const first = await held(1);
      const logged = app().logged.length;
      app().watch.fail('lease', new StoreError('unavailable', 'the store is away'));
      try {
        assert.deepEqual(await nextOf(ack(first, { max: 1 })), []);
      } finally {
        app().watch.fail('lease', null);
      }
      assert.equal(app().logged.length, logged + 1);
      assert.deepEqual(await countsOf(app(), first.queue), { ready: 1, leased: 0, dead: 0 });
    });
  });
});
