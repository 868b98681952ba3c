import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { Reaper } from '../../src/broker/reaper.ts';
import { StoreClock } from '../../src/broker/store-clock.ts';
import { Keyspace } from '../../src/store/redis/keys.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { slotOfKey } from '../../src/store/redis/slots.ts';
import { type SweepReport, StoreError } from '../../src/store/store.ts';
import { RunningBroker } from '../broker/running-broker.ts';
import { plainTask } from '../support/plain-task.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisCluster, startCluster } from '../support/redis-cluster.ts';
import type { RedisServer } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const SLOTS = 16_384;
/** More than three steps of a sweep promote. */
const MANY = 500;
/** Once a call that waits for the lost primary has given up, the others must not wait for anything. */
const RETRY_MS = 1000;

describe('while one primary of a cluster is down that goes on without it', () => {
  let cluster: RedisCluster;
  let store: RedisStore;
  let healthy: RedisServer;
  /** Queues whose shards are on the primary that is down, and on another one. */
  let lost: string;
  let found: string;
  let lostTask: string;
  let foundTask: string;
  let at: RunningBroker;
  /** How full it was, which was more than the others. */
  let fullest: number | null;
  /** For those tasks, since before it went down. */
  let waits: { lost: Promise<unknown>; found: Promise<unknown> };

  before(async () => {
    cluster = await startCluster({ nodeTimeoutMs: 15_000, args: ['--cluster-require-full-coverage', 'no'] });
    store = new RedisStore({ url: cluster.url, prefix: 'lessor', shards: 64, durability: 'default' });
    await store.open();
    const keys = new Keyspace('lessor', 64);
    const queueAt = (part: number): string => {
      const names = Array.from({ length: 100 }, (_, number) => `q${number}`);
      const at = (name: string): number => (slotOfKey(keys.base(keys.shardOfQueue(name))) * 3) / SLOTS;
      return names.find((name) => Math.floor(at(name)) === part) ?? assert.fail('no queue is there');
    };
    [found, lost] = [queueAt(0), queueAt(2)];
    [lostTask, foundTask] = [store.newTaskId(lost), store.newTaskId(found)];
    await store.enqueue([
      { queue: lost, tasks: [plainTask(lostTask)] },
      { queue: found, tasks: [plainTask(foundTask)] },
    ]);
    at = new RunningBroker(store);
    const wait = (task: string): Promise<unknown> => at.broker.finishedTask(task, 60_000, new AbortController().signal);
    waits = { lost: wait(lostTask), found: wait(foundTask) };
    for (const one of [waits.lost, waits.found]) one.catch(() => {});
    await at.watch.quiet();
    const primaries = await cluster.primaries();
    healthy = primaries[0] ?? assert.fail();
    const down = primaries[2] ?? assert.fail();
    await admin(down.port, (redis) => redis.config('SET', 'maxmemory', '100mb'));
    fullest = (await store.memory()).used;
    const id = String(await admin(down.port, (redis) => redis.call('CLUSTER', 'MYID')));
    const [replica] = (await admin(down.port, (redis) => redis.call('CLUSTER', 'REPLICAS', id))) as string[];
    const port = Number(/:(\d+)@/.exec(replica ?? '')?.[1]);
    for (const node of [...cluster.nodes.filter((one) => one.port === port), down]) await node.kill();
    const isDown = async (): Promise<boolean> =>
      store.get([lostTask]).then(
        () => false,
        () => true,
      );
    await until(isDown, { what: 'it is known to be down' });
  });

  after(async () => {
    await at.broker.stop();
    await store.close();
    await cluster.stop();
  });

  async function enqueueDue(count: number): Promise<string[]> {
    const ids = Array.from({ length: count }, () => store.newTaskId(found));
    const tasks = ids.map((id) => ({ ...plainTask(id), delayMs: 1 }));
    await store.enqueue([{ queue: found, tasks }]);
    return ids;
  }

  test('a sweep tells what the others made ready, and that a part has failed', async () => {
    await enqueueDue(1);
    const report = await until(
      async () => {
        const swept = await store.sweep();
        return swept.promoted > 0 ? swept : null;
      },
      { what: 'the task is promoted' },
    );
    assert.deepEqual(report.readied, [found]);
    assert.ok(report.failure instanceof StoreError, String(report.failure));
    assert.equal(report.failure.kind, 'unavailable');
  });

  test('the reaper goes on with the others until nothing is due there, and says once what fails', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    const steps: { at: number; report: SweepReport }[] = [];
    const reaper = new Reaper(store, new StoreClock(), log, (report) => steps.push({ at: performance.now(), report }));
    await enqueueDue(MANY);
    reaper.start();
    await until(() => steps.reduce((sum, { report }) => sum + report.promoted, 0) >= MANY, {
      what: 'all are promoted',
    });
    const promoting = steps.filter(({ report }) => report.promoted > 0).map(({ at }) => at);
    assert.ok(promoting.length > 1);
    const took = (promoting.at(-1) ?? 0) - (promoting[0] ?? 0);
    assert.ok(took < RETRY_MS, `from the first step to the last it took ${Math.round(took)} ms`);
    const before = steps.length;
    await until(() => steps.length > before + 2, { what: 'more steps' });
    await reaper.stop();
    assert.equal(lines.length, 1, lines.join(''));
  });

  test('waits for tasks of the others go on, and only those for its own tasks are told', async () => {
    await assert.rejects(waits.lost, { kind: 'unavailable' });
    const before = at.watch.calls('get');
    await until(() => at.watch.calls('get') > before + 2, { what: 'the others are looked at again and again' });
    await at.broker.cancel({ id: foundTask, reason: null, force: false });
    assert.equal((Object(await waits.found) as { state: string }).state, 'cancelled');
  });

  test('it counts as being as full as it last said', async () => {
    assert.ok(fullest !== null && fullest > 0);
    assert.equal((await store.memory()).used, fullest);
  });

  test('how full the others are is known, and that one of them may throw tasks away', async () => {
    const on = (...words: [string, ...string[]]): Promise<unknown> =>
      admin(healthy.port, (redis) => redis.call(...words));
    await on('CONFIG', 'SET', 'maxmemory', '50mb');
    const { used, evicts } = await store.memory();
    assert.ok(used !== null && fullest !== null && used > fullest, String(used));
    assert.equal(evicts, false);
    await on('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    assert.equal((await store.memory()).evicts, true);
    await on('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    assert.equal((await store.memory()).evicts, false);
  });
});
