import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Keyspace } from '../../src/store/redis/keys.ts';
import { loadLibrary } from '../../src/store/redis/library.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { slotOfKey } from '../../src/store/redis/slots.ts';
import { StoreError } from '../../src/store/store.ts';
import { plainTask } from '../support/plain-task.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisCluster, startCluster } from '../support/redis-cluster.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const SLOTS = 16_384;
/** What a call may take whose shard is not served, and a second for a busy machine. */
const LONGEST_CALL_MS = 2800;

test('the shards are spread evenly over two to four nodes, and over five within three', () => {
  const keys = new Keyspace('lessor', 64);
  for (const [nodes, most] of [
    [2, 0],
    [3, 1],
    [4, 0],
    [5, 4],
  ] as const) {
    const counts = new Array<number>(nodes).fill(0);
    for (const base of keys.bases) {
      const node = Math.floor((slotOfKey(base) * nodes) / SLOTS);
      counts[node] = (counts[node] ?? 0) + 1;
    }
    assert.ok(Math.max(...counts) - Math.min(...counts) <= most, `${nodes} nodes have ${counts.join(', ')}`);
  }
});

describe('a store on a cluster', () => {
  let cluster: RedisCluster;
  let store: RedisStore;
  let other: RedisStore;
  let source: RedisServer;
  let target: RedisServer;
  let queue: string;
  let base: string;
  let slot: number;

  const open = async (): Promise<RedisStore> => {
    const opened = new RedisStore({ url: cluster.url, prefix: 'lessor', shards: 64, durability: 'default' });
    await opened.open();
    return opened;
  };

  before(async () => {
    cluster = await startCluster({ nodeTimeoutMs: 15_000 });
    [store, other] = [await open(), await open()];
    const [first, second] = await cluster.primaries();
    assert.ok(first && second);
    [source, target] = [first, second];
    const keys = new Keyspace('lessor', 64);
    const names = Array.from({ length: 100 }, (_, number) => `q${number}`);
    const found = names.find((name) => slotOfKey(keys.base(keys.shardOfQueue(name))) < SLOTS / 3);
    assert.ok(found);
    queue = found;
    base = keys.base(keys.shardOfQueue(queue));
    slot = slotOfKey(base);
  });

  after(async () => {
    await Promise.all([store.close(), other.close()]);
    await cluster.stop();
  });

  const slotIs = async (server: RedisServer, state: string, other: RedisServer): Promise<void> => {
    const id = String(await admin(other.port, (redis) => redis.call('CLUSTER', 'MYID')));
    await admin(server.port, (redis) => redis.call('CLUSTER', 'SETSLOT', slot, state, id));
  };
  const keysOf = (server: RedisServer): Promise<string[]> =>
    admin(server.port, async (redis) => {
      const keys = await redis.call('CLUSTER', 'GETKEYSINSLOT', slot, 1000);
      return Array.isArray(keys) ? keys.map(String).sort() : [];
    });
  const move = (from: RedisServer, to: RedisServer, keys: readonly string[]): Promise<unknown> =>
    admin(from.port, (redis) => redis.call('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys));
  const enqueue = () => store.enqueue([{ queue, tasks: [plainTask(store.newTaskId(queue))] }]);

  test('no operation begins while the slot of its shard is on its way, on neither side, even when what it reads is still there', async () => {
    await enqueue();
    const all = await keysOf(source);
    assert.ok(all.length > 4, all.join(' '));
    await slotIs(target, 'IMPORTING', source);
    await slotIs(source, 'MIGRATING', target);
    const library = loadLibrary();
    const operations = ['enqueue', 'lease', 'settle', 'sweep', 'get', 'queues', 'queue-names', 'check'] as const;
    const refused = async (server: RedisServer, word: RegExp): Promise<void> => {
      for (const operation of operations) {
        const call = admin(server.port, (redis) => redis.fcall(library.functionOf(operation), 1, base, '1', 'x'));
        await assert.rejects(call, word, operation);
      }
    };
    await refused(source, /^ReplyError: ASK /);
    await move(source, target, all.slice(0, 2));
    await refused(source, /^ReplyError: ASK /);
    await refused(target, /^ReplyError: MOVED /);
    assert.deepEqual([...(await keysOf(source)), ...(await keysOf(target))].sort(), all, 'nothing was written');
  });

  test('a call waits for a slot that is on its way, and is answered 503 when that takes longer than a moment', async () => {
    const begun = performance.now();
    await assert.rejects(enqueue, (error) => error instanceof StoreError && error.kind === 'unavailable');
    assert.ok(performance.now() - begun < LONGEST_CALL_MS);
    await assert.rejects(store.check(), /slot|ASK/);
  });

  test('calls go on where the slot has arrived', async () => {
    await move(source, target, await keysOf(source));
    await slotIs(target, 'NODE', target);
    await slotIs(source, 'NODE', target);
    await enqueue();
    const { queue: record } = await store.queue(queue);
    assert.deepEqual([record?.counts.ready, record?.totals.enqueued], [2, 2]);
    await store.check();
  });

  test('control: with a base key, which never exists otherwise, an operation begins although keys are gone', async () => {
    const [id = ''] = (await keysOf(target))
      .filter((key) => key.includes(':b:'))
      .map((key) => key.split(':').at(-1) ?? '');
    await admin(target.port, (redis) => redis.set(base, 'by hand'));
    await slotIs(source, 'IMPORTING', target);
    await slotIs(target, 'MIGRATING', source);
    await move(target, source, [`${base}:b:${id}`]);
    await assert.rejects(store.get([id]), /attempted to access a non local key/);
    await admin(target.port, (redis) => redis.del(base));
    await move(target, source, await keysOf(target));
    await slotIs(source, 'NODE', source);
    await slotIs(target, 'NODE', source);
    const { results } = await store.get([id]);
    assert.equal(results[0]?.id, id);
  });

  test('a subscription follows its slot at once', async () => {
    let wakes = 0;
    store.wakes.onReady((name) => {
      if (name === queue) wakes++;
    });
    store.wakes.watch(queue);
    await until(() => wakes > 0, { what: 'it has subscribed' });
    const { results } = await store.lease([
      { queue, token: 'x'.repeat(20), max: 100, leaseMs: null, workerId: null, requestId: null },
    ]);
    assert.equal(results[0]?.length, 2);
    wakes = 0;
    await cluster.reshard([slot], target);
    await until(() => wakes > 0, { what: 'it has subscribed again' });
    wakes = 0;
    await other.enqueue([{ queue, tasks: [plainTask(other.newTaskId(queue))] }]);
    await until(() => wakes > 0, { what: 'it hears of a task', timeoutMs: 5000 });
  });

  test('data of a single server may move to a cluster as they are', async () => {
    const single = await startRedis();
    const before = new RedisStore({ url: single.url, prefix: 'moves', shards: 64, durability: 'default' });
    await before.open();
    const names = Array.from({ length: 30 }, (_, number) => `q${number}`);
    const ids = await Promise.all(
      names.map(async (name) => {
        const id = before.newTaskId(name);
        await before.enqueue([{ queue: name, tasks: [plainTask(id)] }]);
        return id;
      }),
    );
    await before.close();
    const primaries = await cluster.primaries();
    for (const key of await admin(single.port, (redis) => redis.keys('moves:*'))) {
      for (const { port } of primaries) {
        const moved = await admin(single.port, (redis) =>
          redis.call('MIGRATE', '127.0.0.1', port, key, 0, 5000).then(
            () => true,
            () => false,
          ),
        );
        if (moved) break;
      }
    }
    await single.stop();
    const after = new RedisStore({ url: cluster.url, prefix: 'moves', shards: 64, durability: 'default' });
    await after.open();
    const { results } = await after.lease(
      names.map((name) => ({
        ...{ queue: name, token: `token-of-${name}-1234567890`, max: 9 },
        ...{ leaseMs: null, workerId: null, requestId: null },
      })),
    );
    await after.close();
    assert.deepEqual(
      results.map((grants) => grants.map(({ task }) => task.id)),
      ids.map((id) => [id]),
    );
  });
});
