import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { begin, dieTogether, finish, like } from '../contract/redrives.ts';
import { held, json, only, type Workbench } from '../contract/workbench.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { type Break, findsAndMends, leasesAll } from './break.ts';
import { BrokenRedis } from './broken-redis.ts';

const TO = 'elsewhere';
const UNIQUE = { key: 'k', until: 'ttl', ttlMs: 1_000_000, onConflict: 'return' } as const;

/** A redrive into another queue by a process that is gone when it has taken its first task out of the dead. */
async function onTheWay({ run }: BrokenRedis, bench: Workbench): Promise<{ operation: string; id: string }> {
  const [, grant] = [
    await bench.put({ unique: UNIQUE, idempotency: { key: 'i', fingerprint: 'f' } }),
    await bench.take(),
  ];
  await bench.heartbeat(held(grant), { checkpoint: json('there') });
  await bench.nack(held(grant), { retryable: false });
  await dieTogether(bench, like(2));
  const operation = await begin(bench, { to: TO });
  await run('step-operation', operation, 1);
  assert.equal(await bench.find(grant.task.id), null);
  return { operation, id: grant.task.id };
}

async function goesOn(bench: Workbench, operation: string): Promise<void> {
  await bench.advance(3000);
  await finish(bench, operation);
  await leasesAllOf(bench, TO, 3);
}

async function leasesAllOf(bench: Workbench, queue: string, count: number): Promise<void> {
  const ids = await bench.drain(queue);
  assert.deepEqual([ids.length, new Set(ids).size], [count, count]);
}

const BREAKS: readonly Break[] = [
  {
    what: 'a task on its way that no operation knows of',
    fault: 'stranded',
    async by(broken, bench) {
      const { operation, id } = await onTheWay(broken, bench);
      await broken.redis.del(broken.key(`j:${operation}`));
      await broken.redis.zrem(broken.key('jobs'), operation);
      return id;
    },
    async works(bench, id) {
      const task = await bench.get(id);
      assert.deepEqual([task.state, task.checkpoint], ['dead', '"there"']);
      const again = await bench.enqueue([bench.task({ idempotency: { key: 'i', fingerprint: 'f' } })]);
      assert.deepEqual(again.outcome === 'stored' && only(again.tasks).task.id, id, 'its idempotency key is its own');
      const other = await bench.enqueue([bench.task({ unique: UNIQUE })]);
      assert.deepEqual(other.outcome === 'stored' && only(other.tasks).task.id, id, 'and so is its unique key');
      await bench.redrive(id);
      await leasesAll(bench, 1);
    },
  },
  {
    what: 'an operation with tasks on their way that is not listed, and goes on with it',
    fault: 'unlisted',
    async by(broken, bench) {
      const { operation } = await onTheWay(broken, bench);
      await broken.redis.zrem(broken.key('jobs'), operation);
      return operation;
    },
    works: goesOn,
  },
  {
    what: 'a counter of the dead while some of them are on their way',
    fault: 'counter',
    async by(broken, bench) {
      await onTheWay(broken, bench);
      await broken.redis.hincrby(broken.key('q:q'), '#dead', -1);
      return '#dead';
    },
    async works(bench) {
      assert.equal((await bench.queue()).counts.dead, 3);
    },
  },
  {
    what: 'a part of a task that is not on its way any more',
    fault: 'orphan',
    async by({ redis, key }, bench) {
      const { id } = await bench.put();
      await redis.hset(key(`c:h:${id}`), 'pr', '1');
      return id;
    },
    works: (bench) => leasesAll(bench, 1),
  },
  {
    what: 'a receipt that is kept for good after its operation',
    fault: 'receipt',
    async by({ redis, key }, bench) {
      await dieTogether(bench, like(1));
      const operation = await begin(bench, { to: TO });
      await finish(bench, operation);
      assert.equal(await redis.persist(key(`p:${operation}`)), 1);
      return operation;
    },
  },
  {
    what: 'what workers said of a task whose record says that nobody said anything',
    fault: 'unheard',
    async by({ redis, key }, bench) {
      const { id } = await bench.put();
      await redis.hset(key(`h:${id}`), 'cp', '"there"');
      return id;
    },
    async works(bench, id) {
      const { task } = await bench.take();
      assert.deepEqual([task.id, task.checkpoint], [id, '"there"']);
    },
  },
];

describe('a census of a store on Redis whose moves were broken', () => {
  let server: RedisServer;
  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());

  for (const one of BREAKS) {
    test(`finds and mends ${one.what}`, () => BrokenRedis.use(server.url, (broken) => findsAndMends(broken, one)));
  }

  test('finds nothing while tasks are on their way, have arrived, or are called back, though their process is gone', () =>
    BrokenRedis.use(server.url, async (broken) => {
      const { bench, redis, key } = broken;
      const { operation } = await onTheWay(broken, bench);
      assert.deepEqual(await broken.findings(true), []);
      const mark = createHash('sha1')
        .update((await redis.hget(key(`j:${operation}`), 'claims')) ?? '')
        .digest('hex');
      await broken.run('decline', operation, 1, mark, 1);
      assert.equal(await redis.pttl(key(`p:${operation}`)), -1);
      assert.deepEqual(await broken.findings(true), []);
      await broken.run('cancel-operation', operation);
      assert.deepEqual(await broken.findings(true), []);
      await broken.run('take-receipt', operation, 1, mark, 'f');
      assert.deepEqual(await broken.findings(true), []);
      await broken.run('close-receipt', operation);
      assert.deepEqual(await broken.findings(true), []);
      await broken.run('end-operation', operation);
      assert.deepEqual(await broken.findings(true), []);
      assert.equal((await bench.queue()).counts.dead, 3);
    }));

  test('only tells of a task that has lost its body on its way', () =>
    BrokenRedis.use(server.url, async (broken) => {
      const { id } = await onTheWay(broken, broken.bench);
      await broken.redis.del(broken.key(`c:b:${id}`));
      const found = await broken.findings(true);
      assert.ok(found.some(({ fault, subject, mended }) => fault === 'bodiless' && subject === id && !mended));
    }));
});
