import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import type { Finding } from '../../src/store/census.ts';
import { RedisCensus } from '../../src/store/redis/census.ts';
import { loadLibrary } from '../../src/store/redis/library.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type OperationStepped, type Store, StoreError } from '../../src/store/store.ts';
import { dieTogether, redriveOf } from '../contract/redrives.ts';
import { held, json, only, Workbench } from '../contract/workbench.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { seeded, testSeed } from '../support/seeded.ts';
import { startTcpLink } from '../support/tcp-link.ts';
import { until } from '../support/until.ts';

/** The third one's unique key is held in the other queue. */
const TASKS = 5;
const CONFLICTING = 2;
const LIMIT = 2;
const SHARDS = 4;
/** It takes three replies for each of three batches, and two for its end. */
const LEAST_REPLIES = 11;
/** Large ones may come in pieces. */
const MOST_REPLIES = 14;
const UNIQUE = { key: 'k', until: 'finished', ttlMs: null, onConflict: 'reject' } as const;
const SOURCE = 'q';

function benchOf(store: RedisStore, findings: () => Promise<Finding[]>): Workbench {
  return new Workbench({
    ...{ store, now: Date.now, advance: async () => {}, reopen: async () => {} },
    ...{ close: async () => {}, stored: async () => [], findings },
  });
}

describe('tasks on their way to another queue', { concurrency: true }, () => {
  let server: RedisServer;
  let redis: Redis;
  let prefixes = 0;
  before(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  async function open(prefix: string, port = server.port): Promise<RedisStore> {
    const url = `redis://127.0.0.1:${port}`;
    const store = new RedisStore({ url, prefix, shards: SHARDS, durability: 'default' });
    await store.open();
    return store;
  }

  async function examine(prefix: string): Promise<Finding[]> {
    const census = new RedisCensus({ url: server.url, prefix });
    await census.open();
    try {
      const found: Finding[] = [];
      await census.take({ mend: false, found: (finding) => found.push(finding) });
      return found;
    } finally {
      await census.close();
    }
  }

  /** A queue on another shard than the source. */
  function elsewhere(store: RedisStore): string {
    const shard = (queue: string): string => store.newTaskId(queue).slice(0, 2);
    const found = ['a', 'b', 'c', 'd', 'e', 'f'].find((queue) => shard(queue) !== shard(SOURCE));
    assert.ok(found);
    return found;
  }

  async function step(store: Store, id: string, to: string): Promise<OperationStepped | null> {
    const ids = Array.from({ length: LIMIT }, () => store.newTaskId(to));
    return only((await store.stepOperations([{ id, limit: LIMIT, ids }])).results);
  }

  interface Scene {
    /** The process that is still there. */
    bench: Workbench;
    to: string;
    operation: string;
    /** Of the source's tasks, in the order in which they died. */
    ids: readonly string[];
    prefix: string;
    /** Whether the other process came to an end before it was gone. */
    finished: boolean;
    close(): Promise<void>;
  }

  async function prepare(): Promise<Scene> {
    const prefix = `moves-${++prefixes}`;
    const direct = await open(prefix);
    const bench = benchOf(direct, () => examine(prefix));
    const to = elsewhere(direct);
    const ids = await dieTogether(
      bench,
      Array.from({ length: TASKS }, (_, at) => ({
        payload: json(at),
        idempotency: { key: String(at), fingerprint: 'f' },
        unique: at === CONFLICTING ? UNIQUE : null,
      })),
    );
    await bench.put({ unique: UNIQUE, payload: json('holder') }, to);
    const operation = redriveOf(bench, { to });
    await direct.createOperations([operation]);
    return { bench, to, operation: operation.id, ids, prefix, finished: false, close: () => direct.close() };
  }

  /** A process takes steps and is gone for good: the answer to its `last` call to Redis, once that has run, never reaches it. */
  async function cutOff(scene: Scene, last: number): Promise<Scene> {
    const { operation, to, prefix } = scene;
    let replies = 0;
    let counting = false;
    const proxy = await startTcpLink(server.port, () => counting && ++replies >= last);
    const doomed = await open(prefix, proxy.port);
    counting = true;
    let finished = false;
    try {
      while (!finished) finished = (await step(doomed, operation, to))?.nextAt === null;
    } catch {
      // It is gone.
    }
    await doomed.close();
    await proxy.stop();
    return { ...scene, finished };
  }

  async function goneAfter(last: number): Promise<Scene> {
    return cutOff(await prepare(), last);
  }

  /** The same after each of its calls in turn, until it comes to its end. */
  async function everywhere(check: (scene: Scene) => Promise<void>): Promise<void> {
    const scenes: Scene[] = [];
    for (let last = 1; last <= MOST_REPLIES; last++) scenes.push(await prepare());
    // A process that is gone waits for its connection for a while: all of them together.
    const cut = await Promise.all(scenes.map((scene, at) => cutOff(scene, at + 1)));
    for (const scene of cut) {
      assert.deepEqual(await scene.bench.findings(), [], 'on their way, they are where they must be');
      await check(scene);
      await scene.close();
    }
    const finished = cut.filter((scene) => scene.finished).length;
    assert.ok(finished >= 1 && finished <= MOST_REPLIES - LEAST_REPLIES, `it came to its end ${finished} times`);
  }

  async function goOn({ bench, operation, to }: Scene): Promise<void> {
    const ended = async (): Promise<boolean> => (await step(bench.store, operation, to))?.nextAt === null;
    await until(ended, { what: 'the end' });
  }

  async function payloads(bench: Workbench, queue: string): Promise<string[]> {
    return (await bench.list({ queue })).map(({ payload }) => payload).sort();
  }

  /** Nothing is parked, receipts go by themselves, and a census finds nothing. */
  async function nothingOpen({ prefix, bench }: Scene): Promise<void> {
    assert.deepEqual(await bench.findings(), []);
    assert.deepEqual(await bench.store.runningOperations(), []);
    const keys = await redis.keys(`${prefix}:*`);
    assert.deepEqual(
      keys.filter((key) => /\}:c:/.test(key)),
      [],
    );
    for (const key of keys.filter((name) => /\}:p:/.test(name))) assert.ok((await redis.pttl(key)) > 0, key);
  }

  it('are neither lost nor doubled, wherever the process is gone that takes them', async () => {
    await everywhere(async (scene) => {
      const { bench, to, ids, operation } = scene;
      await goOn(scene);
      const ended = only((await bench.store.operations([operation])).results);
      assert.deepEqual([ended?.state, ended?.seen, ended?.matched, ended?.moved], ['completed', 5, 5, 4]);
      assert.deepEqual(await payloads(bench, to), ['"holder"', '0', '1', '3', '4']);
      assert.deepEqual(
        (await bench.list({ state: 'dead' })).map(({ id }) => id),
        [ids[CONFLICTING]],
      );
      const [source, target] = [await bench.queue(), await bench.queue(to)];
      assert.deepEqual([source.counts.dead, target.counts.ready, target.totals.enqueued], [1, 5, 5]);
      await nothingOpen(scene);
    });
  });

  it('are in one queue or the other when the operation is cancelled instead', async () => {
    await everywhere(async (scene) => {
      const { bench, to, operation, finished } = scene;
      const cancelled = only((await bench.store.cancelOperations([operation])).results);
      assert.notEqual(cancelled?.state, 'running');
      assert.ok(!finished || cancelled?.state === 'completed');
      const [dead, moved] = [await payloads(bench, SOURCE), await payloads(bench, to)];
      assert.deepEqual([...dead, ...moved].sort(), ['"holder"', '0', '1', '2', '3', '4']);
      const [source, target] = [await bench.queue(), await bench.queue(to)];
      assert.deepEqual([source.counts.dead, target.totals.enqueued], [dead.length, moved.length]);
      assert.equal(cancelled?.moved, moved.length - 1);
      await nothingOpen(scene);
      // Those that came back are as they were.
      const deadIds = (await bench.list({ state: 'dead' })).map(({ id }) => id);
      assert.deepEqual(
        (await bench.store.redrive(deadIds)).results.map(({ outcome }) => outcome),
        deadIds.map(() => 'redriven'),
      );
      assert.deepEqual((await bench.drain()).length, dead.length);
    });
  });

  it('are not stored again though what was stored of them is done and gone', async () => {
    await everywhere(async (scene) => {
      const { bench, to } = scene;
      const done: string[] = [];
      const work = async (): Promise<void> => {
        for (const grant of await bench.lease({ max: 100 }, to)) {
          await bench.ack(held(grant));
          done.push(grant.task.payload);
        }
        await bench.store.purge(to, 'completed', 100);
      };
      await work();
      await goOn(scene);
      await work();
      // The holder of the key may be done before the task that wants it comes.
      const left = await payloads(bench, SOURCE);
      assert.deepEqual([...done, ...left].sort(), ['"holder"', '0', '1', '2', '3', '4']);
      assert.ok(left.length === 0 || (left.length === 1 && left[0] === String(CONFLICTING)));
      await nothingOpen(scene);
    });
  });

  it('are gone to every verb, and neither a purge nor the end of their queue takes them', async () => {
    const scene = await goneAfter(1);
    const { bench, to, ids } = scene;
    const [first = '', second = '', third = ''] = ids;
    assert.deepEqual(
      [await bench.find(first), await bench.find(second), await bench.state(third)],
      [null, null, 'dead'],
    );
    const refused = { outcome: 'refused', code: 'task_not_found' };
    assert.deepEqual((await bench.store.redrive([first])).results, [refused]);
    assert.deepEqual((await bench.store.remove([first])).results, [refused]);
    assert.deepEqual(await bench.cancel(first), refused);
    assert.deepEqual(await bench.ack({ id: first, token: 'any' }), refused);
    assert.deepEqual(await bench.store.purge(SOURCE, 'dead', 100), { purged: TASKS - LIMIT });
    const again = await bench.enqueue([bench.task({ idempotency: { key: '0', fingerprint: 'f' } })]);
    const replayed = again.outcome === 'stored' ? only(again.tasks) : null;
    assert.deepEqual([replayed?.replayed, replayed?.task.id, replayed?.task.state], [true, first, 'dead']);
    assert.equal((await bench.queue()).counts.dead, LIMIT, 'they count as dead');
    assert.equal(await bench.store.dropQueue(SOURCE), 'not_empty');
    await goOn(scene);
    assert.deepEqual(await payloads(bench, to), ['"holder"', '0', '1']);
    assert.equal((await bench.queue()).counts.dead, 0);
    assert.equal(await bench.store.dropQueue(SOURCE), 'deleted');
    await nothingOpen(scene);
    await scene.close();
  });

  /** The mark of the batch that an operation has a receipt for. */
  async function markOf(prefix: string, operation: string): Promise<string> {
    const [key] = await redis.keys(`${prefix}:*:p:${operation}`);
    return (key === undefined ? null : await redis.get(key))?.split('|')[2] ?? 'no receipt';
  }

  function baseOf({ store }: Workbench, prefix: string, queue: string): string {
    return `${prefix}:{${Number.parseInt(store.newTaskId(queue).slice(1, 2), 32)}}`;
  }

  /** What a process is told that brings tasks of a batch now, all of them plain. */
  async function receive(
    { bench, to, prefix }: Scene,
    batchOf: { id: string; batch: number; tasks: number; mark?: string; givenAt?: number },
  ): Promise<unknown> {
    const { id, batch, tasks, mark = await markOf(prefix, id), givenAt = Date.now() } = batchOf;
    const task = (): string[] => [bench.store.newTaskId(to), `|0|${to}|`, '4', '||||||||"late"', '0'];
    const args = [id, batch, mark, givenAt, to, ...Array.from({ length: tasks }, task).flat(), 'a process'];
    const reply = await redis.fcall(loadLibrary().functionOf('receive'), 1, baseOf(bench, prefix, to), ...args);
    return Array.isArray(reply) ? (reply[2] as unknown) : reply;
  }

  it('are not stored by a process that comes too late', async () => {
    const scene = await goneAfter(MOST_REPLIES);
    const { bench, to, operation } = scene;
    assert.ok(scene.finished);
    const before = await payloads(bench, to);
    // Two at a time: the last batch of five is the third.
    assert.equal(await receive(scene, { id: operation, batch: 3, tasks: 1 }), 's');
    assert.equal(await receive(scene, { id: operation, batch: 1, tasks: 2 }), 'behind:3');
    assert.equal(await receive(scene, { id: operation, batch: 3, tasks: 1, mark: 'of another' }), 'behind:3');
    const forgotten = { id: bench.store.newTaskId(SOURCE), batch: 1, tasks: 1, givenAt: Date.now() - 600_000 };
    assert.equal(await receive(scene, forgotten), 'stale');
    assert.deepEqual(await payloads(bench, to), before);
    await scene.close();
  });

  it('are not stored once they were called back', async () => {
    const scene = await goneAfter(1);
    const { bench, to, operation } = scene;
    await bench.store.cancelOperations([operation]);
    assert.equal(await receive(scene, { id: operation, batch: 1, tasks: LIMIT }), 'ff');
    assert.deepEqual(
      [await payloads(bench, to), await payloads(bench, SOURCE)],
      [['"holder"'], ['0', '1', '2', '3', '4']],
    );
    await nothingOpen(scene);
    await scene.close();
  });

  /** Has the shard of the source be as it is now again, as a replica knows it that has missed the last writes. */
  async function rememberSource({ bench, prefix }: Scene): Promise<() => Promise<void>> {
    const keys = (): Promise<string[]> => redis.keys(`${baseOf(bench, prefix, SOURCE)}*`);
    const kept = await Promise.all(
      (await keys()).map(async (key) => ({ key, dump: await redis.dumpBuffer(key), ttl: await redis.pttl(key) })),
    );
    return async () => {
      await redis.del(...(await keys()));
      for (const { key, dump, ttl } of kept) await redis.restore(key, Math.max(0, ttl), dump);
    };
  }

  /** The source fails over to a replica that has missed steps of the operation, and the first task that is dead then is redriven by itself. */
  async function failOver(scene: Scene, missed: number): Promise<void> {
    const { bench, operation, to } = scene;
    // The process that is gone is waited for before the others go on.
    const steps = async (): Promise<boolean> => {
      const stepped = await step(bench.store, operation, to);
      return stepped?.nextAt === null || (stepped?.operation.seen ?? 0) >= missed;
    };
    const back = await rememberSource(scene);
    await until(steps, { what: 'the steps that are lost' });
    await back();
    const [first] = await bench.list({ state: 'dead' });
    if (first) await bench.redrive(first.id);
  }

  /** The calls that a process has made before the replica heard nothing more, and how many tasks had been looked at in the end. */
  const FAILOVERS = [
    { calls: 0, missed: 2 },
    { calls: 0, missed: 4 },
    { calls: 1, missed: 2 },
    { calls: 1, missed: 4 },
    { calls: 4, missed: 5 },
  ];

  it('are not lost when their shard fails over and forgets batches that have arrived', async () => {
    await Promise.all(
      FAILOVERS.map(async ({ calls, missed }) => {
        const scene = calls === 0 ? await prepare() : await goneAfter(calls);
        await failOver(scene, missed);
        await goOn(scene);
        const [left, moved] = [await payloads(scene.bench, SOURCE), await payloads(scene.bench, scene.to)];
        const found = [...new Set([...left, ...moved])].sort();
        assert.deepEqual(found, ['"holder"', '0', '1', '2', '3', '4'], `after ${calls} calls, ${missed} missed`);
        await nothingOpen(scene);
        await scene.close();
      }),
    );
  });

  it('are dead again when such an operation is cancelled, and their queue can be dropped', async () => {
    await Promise.all(
      FAILOVERS.map(async ({ calls, missed }) => {
        const scene = calls === 0 ? await prepare() : await goneAfter(calls);
        const { bench, operation, to } = scene;
        await failOver(scene, missed);
        await bench.store.cancelOperations([operation]);
        await goOn(scene);
        const [left, moved] = [await payloads(bench, SOURCE), await payloads(bench, to)];
        assert.deepEqual([...new Set([...left, ...moved])].sort(), ['"holder"', '0', '1', '2', '3', '4']);
        assert.deepEqual(await bench.store.runningOperations(), []);
        await bench.store.purge(SOURCE, 'ready', 100);
        await bench.store.purge(SOURCE, 'dead', 100);
        assert.equal(await bench.store.dropQueue(SOURCE), 'deleted');
        await scene.close();
      }),
    );
  });

  it('go on without one that has lost its body on its way, which counts as dead no more', async () => {
    const scene = await goneAfter(1);
    const { bench, to, ids, prefix } = scene;
    const lost = ids[1] ?? '';
    assert.equal(await redis.del(`${baseOf(bench, prefix, SOURCE)}:c:b:${lost}`), 1);
    await goOn(scene);
    assert.deepEqual(await payloads(bench, to), ['"holder"', '0', '3', '4']);
    assert.deepEqual(await payloads(bench, SOURCE), ['2']);
    assert.equal((await bench.queue()).counts.dead, 1);
    assert.deepEqual(await bench.store.runningOperations(), []);
    assert.deepEqual(await redis.keys(`${prefix}:*:c:*`), []);
    await scene.close();
  });

  const seed = testSeed();
  it(`are neither lost nor doubled, whichever replies are lost (LESSOR_SEED=${seed})`, async () => {
    const prefix = `moves-${++prefixes}`;
    const direct = await open(prefix);
    const bench = benchOf(direct, () => examine(prefix));
    const to = elsewhere(direct);
    const numbers = Array.from({ length: 60 }, (_, at) => at);
    await dieTogether(
      bench,
      numbers.map((at) => ({ payload: json(at) })),
    );
    const operation = redriveOf(bench, { to });
    await direct.createOperations([operation]);
    const random = seeded(seed);
    let losing = false;
    const proxy = await startTcpLink(server.port, () => losing && random() < 0.15);
    const store = await open(prefix, proxy.port);
    losing = true;
    let unknown = 0;
    for (let ended = false; !ended; ) {
      try {
        ended = (await step(store, operation.id, to))?.nextAt === null;
      } catch (error) {
        assert.ok(error instanceof StoreError && error.kind === 'unavailable', String(error));
        assert.ok(++unknown < 100);
      }
    }
    assert.ok(proxy.cuts() > 3, `only ${proxy.cuts()} replies were lost`);
    assert.deepEqual(
      (await bench.list({ queue: to })).map(({ payload }) => Number(payload)),
      numbers,
    );
    assert.deepEqual(await payloads(bench, SOURCE), []);
    await nothingOpen({ bench, to, operation: operation.id, ids: [], prefix, finished: true, close: async () => {} });
    await store.close();
    await proxy.stop();
    await direct.close();
  });
});
