import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { LIMITS } from '../../src/domain/limits.ts';
import { until } from '../support/until.ts';
import { assertInvalid, assertProblem, countsOf, MAX_WAITERS, onEveryStore } from './api-app.ts';
import type { HttpCall } from './http-call.ts';

describe('leasing', () => {
  onEveryStore((app) => {
    test('grants tasks with a secret token, a fence and both forms of the deadline', async () => {
      const queue = app().newQueue();
      const { id } = await app().enqueue({ queue, payload: { a: 1 }, leaseMs: 10_000 });
      const [task] = await app().lease(queue, '&workerId=w-1');
      assert.equal(task.id, id);
      assert.equal(task.state, 'leased');
      assert.deepEqual(task.payload, { a: 1 });
      assert.equal(task.attempt, 1);
      assert.equal(task.deliveries, 1);
      assert.equal(task.checkpoint, null);
      const { token, fence, expiresAt, remainingMs, workerId } = task.lease;
      assert.ok(token.length >= 16);
      assert.equal(fence, 1);
      assert.equal(workerId, 'w-1');
      assert.ok(remainingMs > 8000 && remainingMs <= 10_000, String(remainingMs));
      assert.ok(Date.parse(expiresAt) > Date.parse(task.createdAt));

      const { text, body } = await app().get(`/tasks/${id}`);
      assert.equal(body.lease.workerId, 'w-1');
      assert.ok(!text.includes(token), 'nobody else is shown the token');
    });

    test('answers an empty list when the wait ran out, also for a queue that does not exist', async () => {
      const reply = await app().get(`/tasks/lease?queue=${app().newQueue()}&waitMs=0`);
      assert.equal(reply.status, 200);
      assert.equal(reply.text, '{"tasks":[]}');
      assert.equal((await app().get(`/tasks/lease?queue=${app().newQueue()}&waitMs=1`)).text, '{"tasks":[]}');
    });

    test('leases up to max, from earlier queues first', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      await app().post('/tasks/batch', { tasks: [{ queue: two }, { queue: one }, { queue: two }, { queue: one }] });
      const reply = await app().get(`/tasks/lease?queue=${one}&queue=${two}&max=3&waitMs=0`);
      assert.deepEqual(
        reply.body.tasks.map((task) => task.queue),
        [one, one, two],
      );
    });

    test('leases from the queues in turn when order is fair, by GET and POST, parked or not', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      const tasks = [one, two].flatMap((queue) => Array.from({ length: 4 }, () => ({ queue })));
      await app().post('/tasks/batch', { tasks });
      const path = `/tasks/lease?queue=${one}&queue=${two}&order=fair`;
      const served = [];
      for (const query of ['&waitMs=0', '', '&max=2&waitMs=0']) {
        served.push(...(await app().get(`${path}${query}`)).body.tasks);
      }
      served.push(...(await app().post('/tasks/lease', { queue: [two, one], order: 'fair', max: 4 })).body.tasks);
      assert.deepEqual(
        served.map(({ queue }) => (queue === one ? 1 : 2)),
        [1, 2, 1, 2, 1, 1, 2, 2],
      );
      const parked = await app().park(one, { order: 'fair' });
      await app().enqueue({ queue: one });
      assert.equal((await parked.reply).body.tasks[0].queue, one);
    });

    test('takes the same in the body of a POST, one queue as text or several as a list', async () => {
      const [one, two] = [app().newQueue(), app().newQueue()];
      await app().post('/tasks/batch', { tasks: [{ queue: one }, { queue: two }] });
      const first = await app().post('/tasks/lease', { queue: one, max: 1, waitMs: 0, leaseMs: 1000, workerId: 'w' });
      assert.equal(first.body.tasks[0].queue, one);
      assert.ok(first.body.tasks[0].lease.remainingMs <= 1000);
      const second = await app().post('/tasks/lease', { queue: [one, two], waitMs: 0 });
      assert.equal(second.body.tasks[0].queue, two);
    });

    test('a POST without a body leases from the default queue', async () => {
      const { id } = await app().enqueue({});
      const reply = await app().post('/tasks/lease');
      assert.equal(reply.status, 200);
      assert.equal(reply.body.tasks[0].id, id);
    });

    test('a parked poll is answered by an enqueue, GET and POST alike', async () => {
      for (const method of ['GET', 'POST'] as const) {
        const queue = app().newQueue();
        const poll = await app().park(queue, { method });
        const { id } = await app().enqueue({ queue });
        const reply = await poll.reply;
        assert.equal(reply.status, 200);
        assert.equal(reply.body.tasks[0].id, id);
      }
    });

    for (const method of ['GET', 'POST'] as const) {
      test(`a client that hangs up while its ${method} is parked leases nothing`, async () => {
        const queue = app().newQueue();
        const poll = await app().park(queue, { method });
        poll.hangUp();
        await until(() => app().broker.waiters(queue) === 0, { what: 'the waiter has left' });
        await app().enqueue({ queue });
        assert.deepEqual(await countsOf(app(), queue), { ready: 1, leased: 0, dead: 0 });
      });
    }

    test('of many clients that hang up, none keeps a task', async () => {
      const queue = app().newQueue();
      const polls: HttpCall[] = [];
      for (let count = 0; count < 30; count++) polls.push(await app().park(queue));
      const posted = Promise.all(Array.from({ length: 30 }, () => app().enqueue({ queue })));
      for (const poll of polls) poll.hangUp();
      await posted;
      // What was written before a client hung up was delivered; nothing else may stay leased.
      await until(() => app().connections === 0, { what: 'the server has noticed that all have gone' });
      await app().watch.quiet();
      const settled = await countsOf(app(), queue);
      const page = await app().get(`/tasks?queue=${queue}&state=ready`);
      for (const task of page.body.tasks) assert.equal(task.attempt, 0);
      assert.equal(settled.ready + settled.leased, 30);
    });

    test('what a client did not read before it hung up is given back with its attempt and place', async () => {
      const queue = app().newQueue();
      const payload = 'x'.repeat(200_000);
      for (let batch = 0; batch < 4; batch++) {
        const tasks = Array.from({ length: 25 }, () => ({ queue, payload }));
        assert.equal((await app().post('/tasks/batch', { tasks })).status, 201);
      }
      const socket = connect(app().port, '127.0.0.1');
      await once(socket, 'connect');
      // Reads nothing, so that 20 MB cannot be handed to the operating system.
      socket.pause();
      socket.write(`GET /tasks/lease?queue=${queue}&max=100&waitMs=0 HTTP/1.1\r\nHost: x\r\n\r\n`);
      await until(async () => (await countsOf(app(), queue)).leased === 100, { what: 'all are leased' });
      socket.resetAndDestroy();
      await until(async () => (await countsOf(app(), queue)).ready === 100, { what: 'all are given back' });
      const [first] = await app().lease(queue);
      assert.equal(first.attempt, 1);
      assert.equal(first.deliveries, 2);
    });

    test('a reply that was read whole stays leased after the client has gone', async () => {
      const queue = app().newQueue();
      await app().enqueue({ queue });
      assert.equal((await app().lease(queue)).length, 1);
      const { leased } = await countsOf(app(), queue);
      assert.equal(leased, 1);
    });

    test('more polls than may wait are refused with 429 and Retry-After', async () => {
      const queue = app().newQueue();
      const polls: HttpCall[] = [];
      for (let count = 0; count < MAX_WAITERS; count++) polls.push(await app().park(queue));
      const reply = await app().get(`/tasks/lease?queue=${queue}&waitMs=60000`);
      assertProblem(reply, 429, 'too_many_waiters');
      assert.match(String(reply.headers['retry-after']), /^\d+$/);
      assert.equal(reply.body.retryable, true);
      for (const poll of polls) poll.hangUp();
      await until(() => app().broker.waiters(queue) === 0, { what: 'all have left' });
    });

    test('HEAD never leases', async () => {
      const queue = app().newQueue();
      await app().enqueue({ queue });
      const reply = await app().call('HEAD', `/tasks/lease?queue=${queue}&waitMs=0`);
      assert.equal(reply.status, 405);
      assert.equal(reply.headers.allow, 'GET, POST');
      assert.equal((await countsOf(app(), queue)).leased, 0);
    });

    test('refuses what is out of range or not a number, in the query', async () => {
      const bad: Record<string, string> = {
        'max=0': '/max',
        'max=101': '/max',
        'max=': '/max',
        'max=1e2': '/max',
        'max=12abc': '/max',
        'max=0x10': '/max',
        'max=%201': '/max',
        'max=+1': '/max',
        'max=-1': '/max',
        'max=1.0': '/max',
        'max=01': '/max',
        'max=1&max=2': '/max',
        'waitMs=60001': '/waitMs',
        'waitMs=-1': '/waitMs',
        'waitMs=99999999999999999999': '/waitMs',
        'leaseMs=99': '/leaseMs',
        'leaseMs=43200001': '/leaseMs',
        'workerId=': '/workerId',
        'workerId=a&workerId=b': '/workerId',
        'queue=': '/queue',
        'queue=-a': '/queue',
        'queue=a&queue=b%20c': '/queue/1',
        'queue=a,b': '/queue',
        'requestId=': '/requestId',
        'requestId=a&requestId=b': '/requestId',
        'order=random': '/order',
        'order=fair&order=fair': '/order',
        'queu=a': '/queu',
        'constructor=1': '/constructor',
        '__proto__=1': '/__proto__',
      };
      for (const [query, pointer] of Object.entries(bad)) {
        assertInvalid(await app().get(`/tasks/lease?waitMs=0&${query}`.replace(/waitMs=0&(waitMs)/, '$1')), pointer);
      }
      const many = Array.from({ length: LIMITS.maxLeaseQueues + 1 }, (_, index) => `queue=m-${index}`).join('&');
      assertInvalid(await app().get(`/tasks/lease?waitMs=0&${many}`), '/queue');
      assertInvalid(await app().get(`/tasks/lease?workerId=${'w'.repeat(129)}`), '/workerId');
      const longest = encodeURIComponent('😀'.repeat(LIMITS.maxWorkerIdLength));
      assert.equal((await app().get(`/tasks/lease?queue=none&waitMs=0&workerId=${longest}`)).status, 200);
    });

    test('refuses the same in the body', async () => {
      const bad: [object, ...string[]][] = [
        [{ max: '1' }, '/max'],
        [{ max: 0 }, '/max'],
        [{ max: 1.5 }, '/max'],
        [{ waitMs: null }, '/waitMs'],
        [{ queue: [] }, '/queue'],
        [{ queue: 7 }, '/queue'],
        [{ queue: ['a', 7, ''] }, '/queue/1', '/queue/2'],
        [{ workerid: 'w' }, '/workerid'],
        [{ order: 'turns' }, '/order'],
        [{ order: null }, '/order'],
        [{ requestId: '' }, '/requestId'],
      ];
      for (const [body, ...pointers] of bad) assertInvalid(await app().post('/tasks/lease', body), ...pointers);
      assertInvalid(await app().post('/tasks/lease?max=1', {}), '/max');
    });
  });
});
