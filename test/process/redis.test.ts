import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

interface Reply {
  status: number;
  headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- the shape of a reply is what the tests look at
  body: any;
}

async function call(url: string, body?: unknown): Promise<Reply> {
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const reply = await fetch(url, body === undefined ? {} : post);
  return { status: reply.status, headers: reply.headers, body: await reply.json() };
}

describe('a broker whose Redis is lost while it runs', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let lessor: LessorProcess;

  before(async () => {
    redis = await startRedis({ appendonly: true });
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: redis.url } });
  });

  after(async () => {
    await lessor.stop();
    await redis.stop();
    folder.remove();
  });

  const assertUnavailable = ({ status, headers, body }: Reply): void => {
    assert.equal(status, 503, JSON.stringify(body));
    assert.equal(body.code, 'store_unavailable');
    assert.equal(body.retryable, true);
    assert.match(headers.get('retry-after') ?? '', /^\d+$/);
  };

  it('answers 503 store_unavailable with Retry-After, never an empty list, and recovers by itself', async () => {
    const { body: task } = await call(`${lessor.url}/tasks`, { queue: 'lost' });
    const parked = call(`${lessor.url}/tasks/lease?queue=none&waitMs=60000`);
    await until(async () => (await call(`${lessor.url}/queues/none/stats`)).body.waiters === 1);
    await redis.kill();

    const start = performance.now();
    for (const ask of [
      () => call(`${lessor.url}/tasks/lease?queue=lost&waitMs=0`),
      () => call(`${lessor.url}/tasks/lease?queue=lost&waitMs=60000`),
      () => call(`${lessor.url}/tasks`, { queue: 'lost' }),
      () => call(`${lessor.url}/tasks/${task.id}`),
      () => call(`${lessor.url}/tasks?queue=lost`),
      () => call(`${lessor.url}/queues`),
      () => call(`${lessor.url}/queues/lost/stats`),
    ]) {
      assertUnavailable(await ask());
    }
    // The patience with a loss is that of all calls, not of each.
    assert.ok(performance.now() - start < 5000);
    const readiness = await fetch(`${lessor.url}/readyz`);
    await readiness.arrayBuffer();
    assert.equal(readiness.status, 503);
    assert.equal((await fetch(`${lessor.url}/livez`)).status, 200);
    assertUnavailable(await parked);

    await redis.restart();
    const leased = await until(
      async () => {
        const { status, body } = await call(`${lessor.url}/tasks/lease?queue=lost&waitMs=1000`);
        return status === 200 ? body.tasks : null;
      },
      { what: 'leases are served again' },
    );
    assert.deepEqual(
      leased.map(({ id }: { id: string }) => id),
      [task.id],
    );
    assert.equal((await fetch(`${lessor.url}/readyz`)).status, 200);
  });

  it('answers 503 within 5 seconds while Redis is frozen, and grants nothing twice when it thaws', async () => {
    const { body: task } = await call(`${lessor.url}/tasks`, { queue: 'frozen' });
    process.kill(redis.pid, 'SIGSTOP');
    const start = performance.now();
    const replies = await Promise.all([
      call(`${lessor.url}/tasks/lease?queue=frozen&waitMs=60000&leaseMs=500`),
      call(`${lessor.url}/tasks`, { queue: 'other' }),
      call(`${lessor.url}/queues/frozen`),
    ]).finally(() => process.kill(redis.pid, 'SIGCONT'));
    for (const reply of replies) assertUnavailable(reply);
    assert.ok(performance.now() - start < 5000);
    // The lease call may have been carried out when Redis thawed: a grant that nobody heard of runs out.
    const [leased] = await until(
      async () => {
        const { status, body } = await call(`${lessor.url}/tasks/lease?queue=frozen&waitMs=1000`);
        return status === 200 && body.tasks.length > 0 ? body.tasks : null;
      },
      { what: 'the task is granted' },
    );
    assert.equal(leased.id, task.id);
    const { body: queue } = await call(`${lessor.url}/queues/frozen`);
    assert.equal(queue.leased ?? queue.counts?.leased, 1);
  });
});

describe('two brokers on one Redis', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let one: LessorProcess;
  let other: LessorProcess;

  before(async () => {
    redis = await startRedis();
    const env = { LESSOR_STORE: redis.url };
    [one, other] = await Promise.all([startLessor({ dir: folder.dir, env }), startLessor({ dir: folder.dir, env })]);
  });

  after(async () => {
    await Promise.all([one.stop(), other.stop()]);
    await redis.stop();
    folder.remove();
  });

  it('see each other’s tasks', async () => {
    const { body: task } = await call(`${one.url}/tasks`, { queue: 'shared', payload: [1] });
    const { body: lease } = await call(`${other.url}/tasks/lease?queue=shared`);
    assert.equal(lease.tasks[0].id, task.id);
    const { token: leaseToken } = lease.tasks[0].lease;
    const { status } = await call(`${one.url}/tasks/${task.id}/ack`, { leaseToken });
    assert.equal(status, 200);
    assert.equal((await call(`${other.url}/tasks/${task.id}`)).body.state, 'completed');
  });

  it('wake each other’s parked polls', async () => {
    const parked = call(`${other.url}/tasks/lease?queue=wake&waitMs=30000`);
    await until(async () => (await call(`${other.url}/queues/wake/stats`)).body.waiters === 1);
    const start = performance.now();
    const { body: task } = await call(`${one.url}/tasks`, { queue: 'wake' });
    assert.equal((await parked).body.tasks[0].id, task.id);
    assert.ok(performance.now() - start < 10_000);
  });

  it('count an expired lease once', async () => {
    const { body: task } = await call(`${one.url}/tasks`, { queue: 'expiry' });
    await call(`${one.url}/tasks/lease?queue=expiry&leaseMs=200`);
    const polls = [one, other, one, other].map(({ url }) => call(`${url}/tasks/lease?queue=expiry&waitMs=1500`));
    const granted = (await Promise.all(polls)).flatMap(({ body }) => body.tasks);
    assert.equal(granted.length, 1);
    assert.equal(granted[0].id, task.id);
    assert.equal(granted[0].attempt, 2);
    assert.equal(granted[0].deliveries, 2);
    const { body: queue } = await call(`${other.url}/queues/expiry`);
    assert.equal(queue.totals.expired, 1);
    assert.equal(queue.totals.leased, 2);
  });
});
