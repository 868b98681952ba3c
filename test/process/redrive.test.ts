import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Keyspace } from '../../src/store/redis/keys.ts';
import { startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

const TASKS = 5000;
const BATCH = 100;
/** No more than a redrive deals with before its reply. */
const AT_ONCE = 500;
const QUEUE = 'letters';
/** With the default number of shards it lives on another one than the first. */
const OTHER_QUEUE = 'second-try';
const INTO_ANOTHER = { to: OTHER_QUEUE, tasks: 3000 };

async function call(
  broker: LessorProcess,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: Json }> {
  const reply = await fetch(`${broker.url}${path}`, {
    method,
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  const text = await reply.text();
  return { status: reply.status, body: text === '' ? NOTHING : (JSON.parse(text) as Json) };
}

interface Json {
  id: string;
  state: string;
  moved: number;
  dead: number;
  ready: number;
  progress: { done: number; total: number };
  purged: { ready: number };
  tasks: { id: string; payload: number; attempt: number; lease: { token: string } }[];
}

const NOTHING: Json = {
  ...{
    id: '',
    state: '',
    moved: 0,
    dead: 0,
    ready: 0,
    progress: { done: 0, total: 0 },
    purged: { ready: 0 },
    tasks: [],
  },
};

async function leaseBatch(broker: LessorProcess, queue = QUEUE): Promise<Json['tasks']> {
  return (await call(broker, 'GET', `/tasks/lease?queue=${queue}&max=${BATCH}&waitMs=0`)).body.tasks;
}

/** Has tasks die whose payloads number them in the order in which they did. */
async function letDie(broker: LessorProcess, tasks: number): Promise<void> {
  for (let first = 0; first < tasks; first += BATCH) {
    const numbers = Array.from({ length: BATCH }, (_, at) => first + at);
    await call(broker, 'POST', '/tasks/batch', { tasks: numbers.map((payload) => ({ queue: QUEUE, payload })) });
    const items = (await leaseBatch(broker)).map(({ id, lease }) => ({
      ...{ op: 'nack', id, leaseToken: lease.token, retryable: false },
    }));
    assert.equal(items.length, BATCH);
    assert.equal((await call(broker, 'POST', '/leases/settle', { items })).status, 200);
  }
}

/** Payloads of all that is ready, in the order in which it is granted; every task must be as new. */
async function drain(broker: LessorProcess, queue = QUEUE): Promise<number[]> {
  const payloads: number[] = [];
  for (;;) {
    const tasks = await leaseBatch(broker, queue);
    if (tasks.length === 0) return payloads;
    for (const { payload, attempt } of tasks) {
      assert.equal(attempt, 1);
      payloads.push(payload);
    }
  }
}

type Options = Parameters<typeof startLessor>[0];

/**
 * Plays a scene, each time on a store of its own, until a broker was killed in the middle of what it did: on a busy machine the kill may
 * come late.
 * @param play answers whether it came in the middle
 */
async function untilInTheMiddle(
  store: 'sqlite' | 'redis',
  play: (options: Options) => Promise<boolean>,
): Promise<void> {
  for (let tries = 0; tries < 5; tries++) {
    const folder = temporaryFolder();
    const redis = store === 'redis' ? await startRedis({ appendonly: true }) : null;
    const inTheMiddle = await play({ dir: folder.dir, env: redis === null ? {} : { LESSOR_STORE: redis.url } });
    await redis?.stop();
    folder.remove();
    if (inTheMiddle) return;
  }
  assert.fail('no kill came in the middle');
}

async function redriveKilled(options: Options, { to = QUEUE, tasks = TASKS } = {}): Promise<boolean> {
  const first = await startLessor(options);
  await letDie(first, tasks);
  const begun = await call(first, 'POST', `/queues/${QUEUE}/redrive`, to === QUEUE ? {} : { to });
  assert.equal(begun.status, 202);
  const path = `/operations/${begun.body.id}`;
  await until(async () => (await call(first, 'GET', path)).body.moved > 1000, { what: 'the operation goes on' });
  first.signal('SIGKILL');
  await first.ended;

  const second = await startLessor(options);
  const found = (await call(second, 'GET', path)).body;
  await until(async () => (await call(second, 'GET', path)).body.state === 'completed', {
    timeoutMs: 60_000,
    what: 'the operation has ended',
  });
  const ended = (await call(second, 'GET', path)).body;
  assert.deepEqual([ended.moved, ended.progress], [tasks, { done: tasks, total: tasks }]);
  const { dead } = (await call(second, 'GET', `/queues/${QUEUE}/stats`)).body;
  const { ready } = (await call(second, 'GET', `/queues/${to}/stats`)).body;
  assert.deepEqual([dead, ready], [0, tasks]);
  assert.deepEqual(
    await drain(second, to),
    Array.from({ length: tasks }, (_, number) => number),
  );
  await second.stop();
  return found.state === 'running';
}

describe('a redrive of many goes on where it was, and no task is lost or doubled,', () => {
  it('after a SIGKILL of a broker with the embedded store', () => untilInTheMiddle('sqlite', redriveKilled));

  it('after a SIGKILL of a broker on Redis', () => untilInTheMiddle('redis', redriveKilled));

  it('into another queue, after a SIGKILL of a broker with the embedded store', () =>
    untilInTheMiddle('sqlite', (options) => redriveKilled(options, INTO_ANOTHER)));

  it('into a queue on another shard, after a SIGKILL of a broker on Redis', async () => {
    assert.notEqual(new Keyspace('', 64).shardOfQueue(QUEUE), new Keyspace('', 64).shardOfQueue(OTHER_QUEUE));
    await untilInTheMiddle('redis', (options) => redriveKilled(options, INTO_ANOTHER));
  });
});

async function atOnceIntoAnother(options: Options): Promise<void> {
  const broker = await startLessor(options);
  await letDie(broker, AT_ONCE);
  const reply = await call(broker, 'POST', `/queues/${QUEUE}/redrive`, { to: OTHER_QUEUE });
  assert.deepEqual([reply.status, reply.body], [200, { matched: AT_ONCE, moved: AT_ONCE }]);
  assert.equal((await drain(broker, OTHER_QUEUE)).length, AT_ONCE);
  await broker.stop();
}

describe('a redrive of up to a thousand tasks into another queue is done with its reply, whatever time its steps take,', () => {
  it('on the embedded store', async () => {
    const folder = temporaryFolder();
    await atOnceIntoAnother({ dir: folder.dir });
    folder.remove();
  });

  it('on Redis, into a queue on another shard', async () => {
    const folder = temporaryFolder();
    const redis = await startRedis();
    await atOnceIntoAnother({ dir: folder.dir, env: { LESSOR_STORE: redis.url } });
    await redis.stop();
    folder.remove();
  });
});

async function purgeKilled(options: Options): Promise<boolean> {
  const first = await startLessor(options);
  for (let stored = 0; stored < TASKS; stored += 1000) {
    await call(first, 'POST', '/tasks/batch', { tasks: Array.from({ length: 1000 }, () => ({ queue: QUEUE })) });
  }
  const purge = call(first, 'POST', `/queues/${QUEUE}/purge`, { states: ['ready'] }).then(
    () => 'answered',
    () => 'cut off',
  );
  const left = async (broker: LessorProcess): Promise<number> =>
    (await call(broker, 'GET', `/queues/${QUEUE}/stats`)).body.ready;
  await until(async () => (await left(first)) < TASKS, { what: 'the purge goes on' });
  first.signal('SIGKILL');
  await first.ended;
  const outcome = await purge;

  const second = await startLessor(options);
  const before = await left(second);
  assert.ok(before < TASKS, `${before} are left`);
  assert.equal((await call(second, 'POST', `/queues/${QUEUE}/purge`, { states: ['ready'] })).body.purged.ready, before);
  assert.deepEqual(await drain(second), []);
  assert.equal(await left(second), 0);
  await second.stop();
  return outcome === 'cut off' && before > 0;
}

describe('a purge that is asked for again deletes the rest', () => {
  it('after a SIGKILL of a broker with the embedded store', () => untilInTheMiddle('sqlite', purgeKilled));

  it('after a SIGKILL of a broker on Redis', () => untilInTheMiddle('redis', purgeKilled));
});
