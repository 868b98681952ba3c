import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/until.ts';
import { type ApiApp, assertInvalid, assertProblem, countsOf, many, onEveryStore } from './api-app.ts';

/** A queue with so many dead tasks of a type. */
async function deadOf(app: ApiApp, count: number, type = 'mail', queue = app.newQueue()): Promise<string> {
  for (let left = count; left > 0; left -= 100) {
    const some = Math.min(left, 100);
    await app.post('/tasks/batch', { tasks: many(some, { queue, type }) });
    const tasks = await app.lease(queue, `&max=${some}`);
    const error = { code: `${type}_failed` };
    const reply = await app.post('/leases/settle', {
      items: tasks.map(({ id, lease }) => ({ id, leaseToken: lease.token, op: 'nack', retryable: false, error })),
    });
    assert.equal(reply.status, 200, reply.text);
  }
  return queue;
}

onEveryStore((app, another) => {
  test('a redrive of many is done with its reply, by filter and up to max', async () => {
    const queue = await deadOf(app(), 5);
    await deadOf(app(), 3, 'call', queue);
    const path = `/queues/${queue}/redrive`;
    const byType = await app().post(path, { filter: { type: 'call' }, max: 2 });
    assert.equal(byType.status, 200, byType.text);
    assert.deepEqual(byType.body, { matched: 2, moved: 2 });
    const byCode = await app().post(path, { filter: { errorCode: 'call_failed' } });
    assert.deepEqual(byCode.body, { matched: 1, moved: 1 });
    const byTime = await app().post(path, { filter: { diedBefore: '2001-01-01T00:00:00Z' } });
    assert.deepEqual(byTime.body, { matched: 0, moved: 0 });
    assert.deepEqual(await countsOf(app(), queue), { ready: 3, leased: 0, dead: 5 });
    assert.deepEqual((await app().post(path)).body, { matched: 5, moved: 5 });
    assert.deepEqual(await countsOf(app(), queue), { ready: 8, leased: 0, dead: 0 });
  });

  test('a redrive of many wakes those who wait', async () => {
    const queue = await deadOf(app(), 1);
    const poll = await app().park(queue);
    await app().post(`/queues/${queue}/redrive`, {});
    assert.equal((await poll.reply).body.tasks.length, 1);
  });

  test('the dead go into another queue, which is made, and whoever waits there is woken', async () => {
    const queue = await deadOf(app(), 5);
    const to = app().newQueue();
    const path = `/queues/${queue}/redrive`;
    assert.deepEqual((await app().post(path, { to, dryRun: true })).body, { matched: 5, moved: 0 });
    assertProblem(await app().get(`/queues/${to}`), 404, 'queue_not_found');
    const [task] = (await app().get(`/tasks?queue=${queue}&state=dead`)).body.tasks;
    const poll = await app().park(to);
    const moved = await app().post(path, { to, max: 2, filter: { type: 'mail' } });
    assert.deepEqual([moved.status, moved.body], [200, { matched: 2, moved: 2 }]);
    assert.equal((await poll.reply).body.tasks.length, 1);
    assertProblem(await app().get(`/tasks/${task?.id}`), 404, 'task_not_found');
    assert.deepEqual(await countsOf(app(), to), { ready: 1, leased: 1, dead: 0 });
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: 0, dead: 3 });
    assert.deepEqual((await app().post(path, { to: queue })).body, { matched: 3, moved: 3 });
    assert.deepEqual(await countsOf(app(), queue), { ready: 3, leased: 0, dead: 0 });
  });

  test('more than 1,000 go into another queue as an operation', async () => {
    const own = await another();
    const queue = await deadOf(own, 1100);
    const to = own.newQueue();
    const begun = await own.post(`/queues/${queue}/redrive`, { to });
    assert.deepEqual([begun.status, begun.body.to, begun.body.progress], [202, to, { done: 1000, total: 1100 }]);
    own.broker.start();
    const path = `/operations/${begun.body.id}`;
    await until(async () => (await own.get(path)).body.state === 'completed', { what: 'the operation has ended' });
    assert.deepEqual(await countsOf(own, to), { ready: 1100, leased: 0, dead: 0 });
    assert.deepEqual(await countsOf(own, queue), { ready: 0, leased: 0, dead: 0 });
    await own.stop();
  });

  test('a queue that is full makes an operation of any redrive, which goes on when there is room', async () => {
    const own = await another();
    const queue = await deadOf(own, 3);
    const to = own.newQueue();
    await own.call('PUT', `/queues/${to}`, { body: { maxBacklog: 2 } });
    const begun = await own.post(`/queues/${queue}/redrive`, { to });
    assert.deepEqual([begun.status, begun.body.state, begun.body.moved], [202, 'running', 2]);
    assert.deepEqual(await countsOf(own, queue), { ready: 0, leased: 0, dead: 1 });
    own.broker.start();
    for (const { id, lease } of await own.lease(to, '&max=2'))
      await own.post(`/tasks/${id}/ack`, { leaseToken: lease.token });
    await own.advance(1000);
    const path = `/operations/${begun.body.id}`;
    await until(async () => (await own.get(path)).body.state === 'completed', { what: 'the operation has ended' });
    assert.deepEqual(await countsOf(own, to), { ready: 1, leased: 0, dead: 0 });
    await own.stop();
  });

  test('a dry run counts and changes nothing', async () => {
    const queue = await deadOf(app(), 150);
    await deadOf(app(), 2, 'call', queue);
    const dry = async (body: object): Promise<unknown> =>
      (await app().post(`/queues/${queue}/redrive`, { ...body, dryRun: true })).body;
    assert.deepEqual(await dry({}), { matched: 152, moved: 0 });
    assert.deepEqual(await dry({ filter: { type: 'mail' } }), { matched: 150, moved: 0 });
    assert.deepEqual(await dry({ filter: { type: 'mail' }, max: 7 }), { matched: 7, moved: 0 });
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: 0, dead: 152 });
  });

  test('more than 1,000 at once is an operation that goes on after its reply', async () => {
    const own = await another();
    const queue = await deadOf(own, 1300);
    const begun = await own.post(`/queues/${queue}/redrive`);
    assert.equal(begun.status, 202, begun.text);
    const path = String(begun.headers['location']);
    assert.equal(path, `/operations/${begun.body.id}`);
    assert.deepEqual(
      [begun.body.kind, begun.body.state, begun.body.progress],
      ['redrive', 'running', { done: 1000, total: 1300 }],
    );
    // Nothing goes on until the broker is started.
    assert.deepEqual((await own.get(path)).body, begun.body);
    own.broker.start();
    await until(async () => (await own.get(path)).body.state === 'completed', {
      what: 'the operation has ended',
    });
    const ended = (await own.get(path)).body;
    assert.deepEqual([ended.progress, ended.matched, ended.moved], [{ done: 1300, total: 1300 }, 1300, 1300]);
    assert.ok(ended.finishedAt);
    assert.deepEqual(await countsOf(own, queue), { ready: 1300, leased: 0, dead: 0 });
    const again = await own.post(`${path}/cancel`);
    assert.deepEqual([again.status, again.body], [200, ended]);
    await own.stop();
  });

  test('a rate makes an operation of any redrive, and cancel ends it', async () => {
    const queue = await deadOf(app(), 2);
    const begun = await app().post(`/queues/${queue}/redrive`, { ratePerSec: 1 });
    assert.equal(begun.status, 202, begun.text);
    const cancelled = await app().post(`/operations/${begun.body.id}/cancel`);
    assert.equal(cancelled.status, 200, cancelled.text);
    assert.deepEqual([cancelled.body.state, cancelled.body.progress], ['cancelled', { done: 0, total: 2 }]);
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: 0, dead: 2 });
  });

  test('more than a hundred operations at once are refused, and nothing is redriven', async () => {
    const queue = await deadOf(app(), 1);
    const path = `/queues/${queue}/redrive`;
    const ids: string[] = [];
    for (let made = 0; made < 100; made++) ids.push((await app().post(path, { ratePerSec: 1 })).body.id);
    const refused = await app().post(path);
    assertProblem(refused, 429, 'rate_limited');
    assert.equal(refused.headers['retry-after'], '1');
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: 0, dead: 1 });
    for (const id of ids) await app().post(`/operations/${id}/cancel`);
    assert.equal((await app().post(path)).status, 200);
  });

  test('what is not there, and what is not valid', async () => {
    assertProblem(await app().post(`/queues/${app().newQueue()}/redrive`), 404, 'queue_not_found');
    assertProblem(await app().post(`/queues/${app().newQueue()}/redrive`, { dryRun: true }), 404, 'queue_not_found');
    const { id } = await app().enqueue({ queue: app().newQueue() });
    for (const unknown of [id, 'never']) {
      assertProblem(await app().get(`/operations/${unknown}`), 404, 'operation_not_found');
      assertProblem(await app().post(`/operations/${unknown}/cancel`), 404, 'operation_not_found');
    }
    const queue = await deadOf(app(), 1);
    const post = (body: object): ReturnType<ApiApp['post']> => app().post(`/queues/${queue}/redrive`, body);
    assertInvalid(await post({ max: 0, ratePerSec: 10_001, dryRun: 'yes' }), '/max', '/ratePerSec', '/dryRun');
    assertInvalid(
      await post({ filter: { type: 'a b', errorCode: '', diedBefore: 'today', state: 'dead' } }),
      ...['/filter/type', '/filter/errorCode', '/filter/diedBefore', '/filter/state'],
    );
    assertInvalid(await post({ filter: null }), '/filter');
    assertInvalid(await post({ to: 'no name' }), '/to');
    assertInvalid(await post({ to: null }), '/to');
    assert.deepEqual(await countsOf(app(), queue), { ready: 0, leased: 0, dead: 1 });
  });
});
