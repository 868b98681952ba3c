import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, test, after } from 'node:test';
import type { Redis } from 'ioredis';
import type { JsonText } from '../../src/domain/json-text.ts';
import type { NewTask } from '../../src/domain/task.ts';
import { Replication } from '../../src/store/redis/replication.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type LeaseCall, StoreError } from '../../src/store/store.ts';
import { type RedisPair, startRedisPair } from '../support/redis-pair.ts';
import { until } from '../support/until.ts';

/** A round of waiting before the one of the call, that one, and a second for a busy machine. */
const LONGEST_REFUSAL_MS = 2 * 800 + 1000;

function task(store: RedisStore, queue: string, key: string | null = null): NewTask {
  return {
    id: store.newTaskId(queue),
    type: null,
    payload: '1' as JsonText,
    ...{ priority: 4, delayMs: null, runAt: null, ttlMs: null, leaseMs: null, maxAttempts: null, backoff: null },
    ...{ tags: [], metadata: {}, trace: null, unique: null, groupKey: null, retentionMs: null },
    idempotency: key === null ? null : { key, fingerprint: 'same' },
  };
}

function leaseOf(queue: string, requestId: string | null = null): LeaseCall {
  return { queue, token: `token-of-${queue}`, max: 1, leaseMs: 60_000, workerId: null, requestId };
}

const isRefused = (error: unknown): boolean =>
  error instanceof StoreError && error.kind === 'unavailable' && error.message.includes('0 of 1 replicas confirmed');

describe('with replicated:1', () => {
  let pair: RedisPair;
  const opened: RedisStore[] = [];

  before(async () => {
    pair = await startRedisPair();
  });

  beforeEach(() => pair.connected());

  afterEach(async () => {
    pair.link.restore();
    for (const store of opened.splice(0)) await store.close();
  });

  after(() => pair.stop());

  async function open(): Promise<RedisStore> {
    const store = new RedisStore({ url: pair.primary.url, prefix: 'lessor', shards: 4, durability: 'replicated:1' });
    opened.push(store);
    await store.open();
    return store;
  }

  async function stored(id: string): Promise<boolean> {
    return (await pair.onReplica.keys(`lessor:*:b:${id}`)).length === 1;
  }

  test('what is answered is on the replica', async () => {
    const store = await open();
    for (let number = 0; number < 50; number++) {
      const some = task(store, 'held');
      await store.enqueue([{ queue: 'held', tasks: [some] }]);
      assert.ok(await stored(some.id));
    }
    assert.equal((await store.describe()).durability, 'replicated:1');
    assert.equal((await store.describe()).unmet, null);
  });

  test('what no replica confirms is refused as unavailable, each verb that promises something, within bounded time', async () => {
    const store = await open();
    const known = task(store, 'verbs');
    const kept = task(store, 'verbs');
    const finished = task(store, 'verbs');
    await store.enqueue([{ queue: 'verbs', tasks: [known, kept, finished] }]);
    await store.cancel([{ id: finished.id, reason: null, force: false }]);
    const { results } = await store.lease([leaseOf('verbs')]);
    const [grant] = results[0] ?? [];
    assert.ok(grant);
    pair.link.swallow();
    const began = performance.now();
    const promised = [
      () => store.enqueue([{ queue: 'verbs', tasks: [task(store, 'verbs')] }]),
      () => store.settle([{ verb: 'ack', id: grant.task.id, token: grant.token, result: null }]),
      () => store.cancel([{ id: kept.id, reason: null, force: false }]),
      () => store.redrive([finished.id]),
      () => store.remove([grant.task.id]),
      () => store.configure('verbs', { maxAttempts: 3 }, 'merge'),
      () => store.setPaused('verbs', false),
      () => store.purge('verbs', 'dead', 10),
      () => store.check(),
    ];
    await Promise.all(promised.map((promise) => assert.rejects(promise, isRefused, promise.toString())));
    assert.ok(performance.now() - began < LONGEST_REFUSAL_MS);
    assert.match((await store.describe()).unmet ?? '', /replicated:1 does not hold: 0 of/);
  });

  test('reads and leases that grant nothing are answered all the same', async () => {
    const store = await open();
    const some = task(store, 'reads');
    await store.enqueue([{ queue: 'reads', tasks: [some] }]);
    pair.link.swallow();
    assert.equal((await store.get([some.id])).results[0]?.state, 'ready');
    assert.equal((await store.queue('reads')).queue?.counts.ready, 1);
    assert.deepEqual((await store.lease([leaseOf('nothing here')])).results, [[]]);
    await store.sweep();
  });

  test('that a task would be refused is confirmed, since it is final; that none would be promises nothing yet', async () => {
    const store = await open();
    const unique = { key: 'u', until: 'finished', ttlMs: null, onConflict: 'reject' } as const;
    const holder = { ...task(store, 'tries'), unique };
    await store.enqueue([{ queue: 'tries', tasks: [holder] }]);
    pair.link.swallow();
    const { results } = await store.tryEnqueue([{ queue: 'tries', tasks: [task(store, 'tries')] }]);
    assert.deepEqual(results, [null]);
    const second = { ...task(store, 'tries'), unique };
    await assert.rejects(() => store.tryEnqueue([{ queue: 'tries', tasks: [second] }]), isRefused);
    pair.link.restore();
    await pair.connected();
    assert.deepEqual((await store.tryEnqueue([{ queue: 'tries', tasks: [second] }])).results, [
      { outcome: 'unique_conflict', indexes: [0] },
    ]);
  });

  test('a shard that has gone elsewhere is not in the way of what is confirmed for others, as long as there are not too many', async () => {
    const marked: string[] = [];
    const mark = async (redis: Redis, key: string): Promise<unknown> => {
      marked.push(key);
      if (key.startsWith('gone')) throw new Error(`MOVED 1 127.0.0.1:1`);
      return await redis.set(key, '1');
    };
    const replication = new Replication({ replicas: 1, mark });
    const confirm = (...keys: string[]) => Promise.all(keys.map((key) => replication.confirm(pair.onPrimary, key)));
    await confirm('here', 'gone-1', 'gone-2');
    assert.deepEqual(marked, ['gone-2', 'gone-1', 'here']);
    marked.length = 0;
    const gone = Array.from({ length: 20 }, (_, number) => `gone-${number}`);
    await assert.rejects(() => confirm('here', ...gone), /not confirmed: MOVED/);
    assert.ok(marked.length < 10, `${marked.length} keys were tried`);
    await confirm('here');
    assert.equal(replication.tooFew, null);
  });

  test('a repeated call is confirmed like the first one, over whatever connection it comes', async () => {
    const store = await open();
    const first = task(store, 'repeats', 'k');
    pair.link.swallow();
    await assert.rejects(() => store.enqueue([{ queue: 'repeats', tasks: [first] }]), isRefused);
    // A connection that has written nothing yet: what it finds was written by another.
    const other = await open();
    for (const repeat of [first, task(other, 'repeats', 'k')]) {
      await assert.rejects(() => other.enqueue([{ queue: 'repeats', tasks: [repeat] }]), isRefused);
    }
    assert.equal(await stored(first.id), false);
    pair.link.restore();
    const { results } = await other.enqueue([{ queue: 'repeats', tasks: [task(other, 'repeats', 'k')] }]);
    const [outcome] = results;
    assert.ok(outcome?.outcome === 'stored');
    assert.equal(outcome.tasks[0]?.task.id, first.id);
    assert.equal(outcome.tasks[0]?.replayed, true);
    assert.ok(await stored(first.id));
  });

  test('a grant that was not confirmed is given back, with its attempt, when replicas confirm again', async () => {
    const store = await open();
    const some = task(store, 'grants');
    await store.enqueue([{ queue: 'grants', tasks: [some] }]);
    pair.link.swallow();
    await assert.rejects(() => store.lease([leaseOf('grants')]), isRefused);
    pair.link.restore();
    const granted = await until(async () => {
      const reply = await store.lease([{ ...leaseOf('grants'), token: 'another' }]).catch(() => null);
      return reply?.results[0]?.[0];
    });
    assert.equal(granted.task.id, some.id);
    assert.equal(granted.task.attempt, 1);
  });

  test('a primary that is demoted while calls wait refuses them as unavailable, and they are answered when there is one again', async () => {
    const store = await open();
    const some = task(store, 'demoted', 'k');
    pair.link.swallow();
    const waiting = assert.rejects(
      () => store.enqueue([{ queue: 'demoted', tasks: [some] }]),
      (error) => error instanceof StoreError && error.kind === 'unavailable',
    );
    const blocked = async (): Promise<boolean> => /blocked_clients:1/.test(await pair.onPrimary.info('clients'));
    await until(blocked, { what: 'a call waits' });
    // Nobody listens there.
    await pair.onPrimary.replicaof('127.0.0.1', 1);
    await waiting;
    pair.link.restore();
    await pair.onPrimary.replicaof('NO', 'ONE');
    await pair.connected();
    const enqueue = (): Promise<unknown> => store.enqueue([{ queue: 'demoted', tasks: [some] }]);
    await until(() => enqueue().catch(() => null), { what: 'the call is answered' });
    assert.ok(await stored(some.id));
  });

  test('calls share their waiting for the replica', async () => {
    const store = await open();
    const waits = async (): Promise<number> =>
      Number(/cmdstat_wait:calls=(\d+)/.exec(await pair.onPrimary.info('commandstats'))?.[1] ?? 0);
    const before = await waits();
    const calls = Array.from({ length: 400 }, async (_, number) => {
      const queue = `shared${number % 40}`;
      await store.enqueue([{ queue, tasks: [task(store, queue)] }]);
      await store.lease([{ ...leaseOf(queue), token: `t${number}` }]);
    });
    await Promise.all(calls);
    const taken = (await waits()) - before;
    assert.ok(taken < 100, `${taken} times`);
  });
});
