import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RedisCensus } from '../../src/store/redis/census.ts';
import { CLOCK_INCLUDE } from '../support/redis-harness.ts';
import { held, json, only } from '../contract/workbench.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { type Break, findsAndMends, leasesAll } from './break.ts';
import { BrokenRedis } from './broken-redis.ts';

const grouped = (number: number) => ({ groupKey: 'g', payload: json(number) });
const unique = { key: 'u', until: 'finished', ttlMs: null, onConflict: 'return' } as const;

const BREAKS: readonly Break[] = [
  {
    what: 'a ready task in no line',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      await bench.putAll([{}, {}, {}]);
      return String(await redis.lpop(key('l:4:q')));
    },
    works: (bench) => leasesAll(bench, 3),
  },
  {
    what: 'a ready task that came back, in no line',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id, token } = await bench.putAndTake({});
      await bench.nack({ id, token }, { delayMs: 0 });
      await redis.del(key('l:4:q'));
      return id;
    },
    works: (bench) => leasesAll(bench, 1),
  },
  {
    what: 'a task that is not in front of its line any more',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id, token } = await bench.putAndTake({});
      await bench.release({ id, token });
      await redis.zrem(key('f:4:q'), id);
      return id;
    },
    works: (bench) => leasesAll(bench, 1),
  },
  {
    what: 'a lease without a deadline',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id } = await bench.putAndTake({ leaseMs: 100 });
      await redis.zrem(key('x:q'), id);
      return id;
    },
    async works(bench) {
      assert.equal((await bench.pass(100)).reclaimed, 1);
      await leasesAll(bench, 1);
    },
  },
  {
    what: 'a delayed task that nobody waits for',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id } = await bench.put({ delayMs: 100 });
      await redis.zrem(key('d:q'), id);
      return id;
    },
    works: async (bench) => assert.equal((await bench.pass(100)).promoted, 1),
  },
  {
    what: 'a delayed task that is waited for at another time',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id } = await bench.put({ delayMs: 100 });
      await redis.zadd(key('d:q'), bench.now() + 1_000_000, id);
      return id;
    },
    works: async (bench) => assert.equal((await bench.pass(100)).promoted, 1),
  },
  {
    what: 'a task whose ttl nobody watches',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id } = await bench.put({ ttlMs: 100 });
      await redis.zrem(key('e:q'), id);
      return id;
    },
    works: async (bench) => assert.equal((await bench.pass(100)).expired, 1),
  },
  {
    what: 'a finished task that retention does not see',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const claim = await bench.putAndTake({});
      await bench.ack(claim);
      await redis.zrem(key('z:completed:q'), claim.id);
      return claim.id;
    },
    works: async (bench) => assert.equal((await bench.pass(86_400_000 * 30)).pruned, 1),
  },
  {
    what: 'a finished task with a retention of its own that nobody watches',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const claim = await bench.putAndTake({ retentionMs: 50 });
      await bench.ack(claim);
      await redis.zrem(key('a:q'), claim.id);
      return claim.id;
    },
    works: async (bench) => assert.equal((await bench.pass(50)).pruned, 1),
  },
  {
    what: 'a blocked task that is not among the blocked',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const [, second] = await bench.putAll([grouped(1), grouped(2)]);
      await redis.zrem(key('v:q'), second!.id);
      return second!.id;
    },
  },
  {
    what: 'a blocked task that is not in the line of its group',
    fault: 'unlisted',
    async by({ redis, find }, bench) {
      const [, second] = await bench.putAll([grouped(1), grouped(2)]);
      await redis.zrem(await find('w:q:'), second!.id);
      return second!.id;
    },
    async works(bench) {
      await bench.ack(held(await bench.take()));
      await bench.ack(held(await bench.take()));
    },
  },
  {
    what: 'a task that is not in the list of what was created',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      const { id } = await bench.put();
      await redis.lrem(key('i:0:q'), 0, id);
      return id;
    },
    works: async (bench, id) =>
      assert.deepEqual(
        (await bench.list()).map((task) => task.id),
        [id],
      ),
  },
  {
    what: 'a list of what was created that its queue does not know',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.del(key('n:q'));
      return '0';
    },
    works: async (bench) => assert.equal((await bench.list()).length, 1),
  },
  {
    what: 'a queue that is not in the list of queues',
    fault: 'unlisted',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.zrem(key('queues'), 'q');
      return 'q';
    },
    works: async (bench) => assert.equal((await bench.store.queues({ after: null, limit: 9 })).queues.length, 1),
  },
  {
    what: 'a task in two structures',
    fault: 'stray',
    async by({ redis, key }, bench) {
      const { id } = await bench.putAndTake({});
      await redis.zadd(key('d:q'), bench.now() + 5, id);
      return id;
    },
    works: async (bench) => assert.equal((await bench.pass(5)).promoted, 0),
  },
  {
    what: 'a deadline of a task that is gone',
    fault: 'stray',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.zadd(key('x:q'), bench.now() + 5, '00gone');
      return '00gone';
    },
    works: async (bench) => assert.equal((await bench.pass(5)).reclaimed, 0),
  },
  {
    what: 'a task in the line of a group that it is not of',
    fault: 'stray',
    async by({ redis, find }, bench) {
      const { id } = await bench.put();
      await bench.put(grouped(1));
      await redis.zadd(await find('w:q:'), 0, id);
      return id;
    },
    works: (bench) => leasesAll(bench, 2),
  },
  {
    what: 'a queue that is due and gone',
    fault: 'stray',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.zadd(key('due'), 1, 'nowhere');
      return 'nowhere';
    },
  },
  {
    what: 'an operation that is listed and gone',
    fault: 'stray',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.zadd(key('jobs'), 1, '00gone');
      return '00gone';
    },
  },
  {
    what: 'an entry of a line that would grant a task that is done',
    fault: 'spent',
    async by({ redis, key }, bench) {
      const claim = await bench.putAndTake({});
      await bench.ack(claim);
      await redis.rpush(key('l:4:q'), claim.id);
      return claim.id;
    },
    async works(bench, id) {
      const { id: other } = await bench.put();
      assert.deepEqual(await bench.drain(), [other]);
      assert.equal(await bench.state(id), 'completed');
    },
  },
  {
    what: 'a task that stands in its line twice',
    fault: 'twice',
    async by({ redis, key }, bench) {
      const [first] = await bench.putAll([{}, {}]);
      await redis.rpush(key('l:4:q'), first!.id);
      return first!.id;
    },
    works: (bench) => leasesAll(bench, 2),
  },
  ...(['ready', 'ready4', 'front', '#leased', '#scheduled', '#completed', '#blocked'] as const).map(
    (field): Break => ({
      what: `a drifted ${field}`,
      fault: 'counter',
      async by({ redis, key }, bench) {
        await bench.oneOfEach();
        await redis.hincrby(key('q:q'), field, 7);
        return field;
      },
      async works(bench) {
        const { counts } = await bench.queue();
        assert.deepEqual(
          [counts.ready, counts.leased, counts.scheduled, counts.completed, counts.blocked],
          [1, 1, 1, 1, 0],
        );
      },
    }),
  ),
  {
    what: 'tasks behind a counter that says that there are none',
    fault: 'counter',
    async by({ redis, key }, bench) {
      await bench.putAll([{}, {}]);
      await redis.hset(key('q:q'), 'ready4', 0, 'ready', 0);
      return 'ready4';
    },
    works: (bench) => leasesAll(bench, 2),
  },
  {
    what: 'a drifted number of deleted tasks',
    fault: 'counter',
    async by({ redis, key }, bench) {
      const claim = await bench.putAndTake({});
      await bench.put();
      await bench.ack(claim);
      await bench.store.remove([claim.id]);
      await redis.del(key('m:q'));
      return '0';
    },
  },
  {
    what: 'a group that counts leases which are gone',
    fault: 'group',
    async by({ redis, find, key }, bench) {
      await bench.putAll([grouped(1), grouped(2)]);
      const group = await find('y:q:');
      await bench.ack(held(await bench.take()));
      const { id } = only(await bench.list({ state: 'ready' }));
      await redis.set(group, `3|2|${id}`);
      return group.slice(key('y:q:').length);
    },
    async works(bench) {
      await bench.put(grouped(3));
      await bench.ack(held(await bench.take()));
      await bench.ack(held(await bench.take()));
    },
  },
  {
    what: 'a group that has forgotten a lease',
    fault: 'group',
    async by({ redis, find, key }, bench) {
      await bench.putAll([grouped(1), grouped(2)]);
      await bench.take();
      const group = await find('y:q:');
      await redis.del(group);
      return group.slice(key('y:q:').length);
    },
    works: async (bench) => assert.deepEqual(await bench.lease(), []),
  },
  {
    what: 'a group whose first task nobody made ready',
    fault: 'stalled',
    async by({ redis, find, key }, bench) {
      await bench.putAll([grouped(1), grouped(2)]);
      const grant = await bench.take();
      const group = await find('y:q:');
      await bench.ack(held(grant));
      const { id } = only(await bench.list({ state: 'ready' }));
      const text = (await redis.get(key(`t:${id}`)))!.split('|');
      text[0] = 'blocked';
      text[12] = '';
      await redis.set(key(`t:${id}`), text.join('|'));
      await redis.zadd(key('v:q'), text[17]!, id);
      await redis.del(group);
      return group.slice(key('y:q:').length);
    },
    works: (bench) => leasesAll(bench, 1),
  },
  ...(['n', 'grants'] as const).map(
    (counter): Break => ({
      what: `a counter of ${counter} that was set back`,
      fault: 'sequence',
      async by({ redis, key }, bench) {
        await bench.putAndTake({});
        await bench.put();
        await redis.hset(key('q:q'), counter, 0);
        return counter;
      },
      async works(bench) {
        const { id } = await bench.put();
        assert.equal((await bench.drain()).at(-1), id);
      },
    }),
  ),
  {
    what: 'a queue that has something due and is not looked at',
    fault: 'schedule',
    async by({ redis, key }, bench) {
      await bench.put({ delayMs: 100 });
      await redis.zrem(key('due'), 'q');
      return 'due';
    },
    works: async (bench) => assert.equal((await bench.pass(100)).promoted, 1),
  },
  {
    what: 'a queue that takes itself to be looked at, with nothing due yet',
    fault: 'schedule',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.hset(key('q:q'), 'due', 5);
      return 'due';
    },
    async works(bench) {
      await bench.put({ delayMs: 100 });
      assert.equal((await bench.pass(100)).promoted, 1);
    },
  },
  {
    what: 'a queue that retention does not look at',
    fault: 'schedule',
    async by({ redis, key }, bench) {
      await bench.ack(await bench.putAndTake({}));
      await redis.zrem(key('keep'), 'q');
      return 'keep';
    },
    works: async (bench) => assert.equal((await bench.pass(86_400_000 * 30)).pruned, 1),
  },
  {
    what: 'a leased task without its body',
    fault: 'bodiless',
    async by({ redis, key }, bench) {
      const { id } = await bench.putAndTake({ leaseMs: 100 });
      await redis.del(key(`b:${id}`));
      return id;
    },
    async works(bench) {
      await bench.put();
      assert.equal((await bench.pass(100)).reclaimed, 0);
      await leasesAll(bench, 1);
    },
  },
  {
    what: 'a dead task without its body',
    fault: 'bodiless',
    async by({ redis, key }, bench) {
      const claim = await bench.putAndTake({});
      await bench.nack(claim, { retryable: false });
      await redis.del(key(`b:${claim.id}`));
      return claim.id;
    },
    works: async (bench) => assert.deepEqual(await bench.list(), []),
  },
  {
    what: 'what workers said of a task that is gone',
    fault: 'orphan',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.hset(key('h:00gone'), 'pr', '1');
      return '00gone';
    },
  },
  {
    what: 'a unique key of a task that is gone',
    fault: 'orphan',
    async by({ redis, find }, bench) {
      const { id } = await bench.put({ unique });
      const key = await find('u:q:');
      await bench.cancel(id);
      await redis.set(key, '00gone|');
      return '00gone';
    },
    async works(bench) {
      assert.equal((await bench.enqueue([bench.task({ unique })])).outcome, 'stored');
    },
  },
  {
    what: 'a unique key of a task that has ended',
    fault: 'orphan',
    async by({ redis, find }, bench) {
      const { id } = await bench.put({ unique });
      const key = await find('u:q:');
      await bench.cancel(id);
      await redis.set(key, `${id}|`);
      return id;
    },
  },
  {
    what: 'a unique key that its task does not hold',
    fault: 'unique',
    async by({ redis, find }, bench) {
      const { id } = await bench.put({ unique });
      await redis.del(await find('u:q:'));
      return id;
    },
    async works(bench, id) {
      const outcome = await bench.enqueue([bench.task({ unique })]);
      assert.ok(outcome.outcome === 'stored');
      assert.deepEqual([outcome.tasks[0]?.deduplicated, outcome.tasks[0]?.task.id], [true, id]);
    },
  },
  {
    what: 'an idempotency key of a task that is gone',
    fault: 'orphan',
    async by({ redis, find, key }, bench) {
      const { id } = await bench.put({ idempotency: { key: 'k', fingerprint: 'f' } });
      await bench.put();
      const record = await redis.get(await find('k:q:'));
      await redis.set(key('k:q:other'), record!.replace(id, '00gone'), 'PX', 100_000);
      return '00gone';
    },
  },
  {
    what: 'times of grants of a queue without a rate limit',
    fault: 'orphan',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.rpush(key('o:q'), '5');
      return 'q';
    },
  },
  ...(
    [
      ['times of grants', 'o:nowhere', 'nowhere'],
      ['a line', 'l:4:nowhere', 'nowhere'],
      ['a list of ids', 'i:0:nowhere', 'nowhere'],
    ] as const
  ).map(
    ([what, name, subject]): Break => ({
      what: `${what} of a queue that is gone`,
      fault: 'orphan',
      async by({ redis, key }, bench) {
        await bench.put();
        await redis.rpush(key(name), '5');
        return subject;
      },
    }),
  ),
  {
    what: 'a group of a queue that is gone',
    fault: 'orphan',
    async by({ redis, key }, bench) {
      await bench.put();
      await redis.set(key('y:nowhere:g'), '1|0|');
      return 'g';
    },
  },
  {
    what: 'an operation of a queue that is gone',
    fault: 'operation',
    async by({ redis, key }, bench) {
      await bench.put();
      const id = bench.store.newTaskId('q');
      const claim = await bench.putAndTake({}, 'gone');
      await bench.nack(claim, { retryable: false });
      const filter = { type: null, errorCode: null, diedBefore: null };
      await bench.store.createOperations([{ id, queue: 'gone', to: null, filter, max: null, ratePerSec: null }]);
      await bench.store.purge('gone', 'dead', 10);
      assert.equal(await bench.store.dropQueue('gone'), 'deleted');
      await bench.advance(100_000);
      assert.notEqual(await redis.exists(key(`j:${id}`)), 0);
      return id;
    },
    works: async (bench, id) => assert.equal(only((await bench.store.operations([id])).results)?.state, 'cancelled'),
  },
];

describe('a census of a broken store on Redis', () => {
  let server: RedisServer;
  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());

  const withStore = (run: (broken: BrokenRedis) => Promise<void>): Promise<void> => BrokenRedis.use(server.url, run);

  for (const one of BREAKS)
    test(`finds and mends ${one.what}`, () => withStore((broken) => findsAndMends(broken, one)));

  test('only tells of tasks whose queue has lost its record', () =>
    withStore(async (broken) => {
      await broken.bench.putAndTake({});
      await broken.bench.put();
      await broken.redis.del(broken.key('q:q'));
      const stored = await broken.everything();
      for (const mend of [false, true]) {
        const found = await broken.findings(mend);
        assert.ok(found.some(({ fault, subject, mended }) => fault === 'queue' && subject === 'q' && !mended));
        assert.ok(found.every(({ fault }) => fault === 'queue'));
      }
      assert.deepEqual(await broken.everything(), stored);
    }));

  test('only tells of a record that cannot be read, and looks at everything else', () =>
    withStore(async (broken) => {
      const { id } = await broken.bench.putAndTake({});
      await broken.bench.put();
      await broken.redis.set(broken.key(`t:${id}`), 'no such thing');
      await broken.redis.hincrby(broken.key('q:q'), 'ready', 1);
      const found = await broken.findings(true);
      assert.ok(found.some(({ fault, subject, mended }) => fault === 'unreadable' && subject === id && !mended));
      assert.ok(found.some(({ fault, mended }) => fault === 'counter' && mended));
      assert.equal(await broken.redis.get(broken.key(`t:${id}`)), 'no such thing');
    }));

  test('says that lines are too long to be counted, and looks at all else of their queue', () =>
    withStore(async (broken) => {
      for (let part = 0; part < 3; part++) await broken.bench.putAll(Array.from({ length: 900 }, () => ({})));
      const options = { url: server.url, prefix: broken.key('').split(':')[0] ?? '', clockInclude: CLOCK_INCLUDE };
      const unchecked = async (countable: number): Promise<readonly string[]> => {
        const census = new RedisCensus({ ...options, countable });
        await census.open();
        try {
          return (await census.take({ mend: false, found: ({ detail }) => assert.fail(detail) })).unchecked;
        } finally {
          await census.close();
        }
      };
      assert.deepEqual(await unchecked(2699), [
        'ready tasks of queue q were not counted: its lines have more than 2699 entries',
      ]);
      assert.deepEqual(await unchecked(2700), []);
    }));

  test('counts lines that take more than one look', () =>
    withStore(async (broken) => {
      const { bench, redis } = broken;
      for (let part = 0; part < 3; part++) {
        await bench.putAll(Array.from({ length: 900 }, (_, index) => ({ priority: index % 2, delayMs: null })));
      }
      const [first, second] = await redis.lrange(broken.key('l:1:q'), 700, 701);
      await redis.lrem(broken.key('l:1:q'), 1, first!);
      await redis.rpush(broken.key('l:1:q'), second!);
      await redis.hincrby(broken.key('q:q'), 'ready0', -5);
      const found = (await broken.findings(false)).map(({ fault, subject }) => [fault, subject]);
      assert.deepEqual(found, [
        ['unlisted', first],
        ['twice', second],
        ['counter', 'ready0'],
      ]);
      await broken.findings(true);
      assert.deepEqual(await broken.findings(false), []);
      await leasesAll(bench, 2700);
    }));
});
