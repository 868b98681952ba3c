import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { json } from '../contract/workbench.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { leasesAll } from './break.ts';
import { BrokenRedis } from './broken-redis.ts';

const RECORD = ['q:q', 'n:q'];
const LINES = ['l:4:q', 'f:4:q'];
const IDS = ['i:0:q'];

/** What has been lost with the record of a queue of ready tasks, and whether all else of it must be left as it was. */
const LOSSES = [
  { what: 'its set of lists', lost: RECORD, intact: false },
  { what: 'that and its lines', lost: [...RECORD, ...LINES], intact: false },
  { what: 'that and its lists of ids', lost: [...RECORD, ...IDS], intact: false },
  { what: 'all but its tasks', lost: [...RECORD, ...LINES, ...IDS, 'queues', 'w:q:*', 'y:q:*'], intact: false },
  { what: 'its lines', lost: ['q:q', ...LINES], intact: true },
  { what: 'nothing else', lost: ['q:q'], intact: true },
] as const;

/** Three tasks that can be leased, of which one is in front of its line and one is of a group. */
async function putThree({ bench }: BrokenRedis): Promise<void> {
  await bench.release(await bench.putAndTake({ payload: json('front') }));
  await bench.putAll([{ payload: json('plain') }, { payload: json('of a group'), groupKey: 'g' }]);
}

async function lose({ redis, key }: BrokenRedis, names: readonly string[]): Promise<void> {
  for (const name of names) for (const found of await redis.keys(key(name))) await redis.del(found);
}

/** What producers sent, by the key. */
async function bodies(broken: BrokenRedis): Promise<Record<string, unknown>> {
  const all = Object.entries(await broken.everything());
  return Object.fromEntries(all.filter(([key]) => key.startsWith(broken.key('b:'))));
}

describe('a queue on Redis that has lost its record', () => {
  let server: RedisServer;
  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());

  const withStore = (run: (broken: BrokenRedis) => Promise<void>): Promise<void> => BrokenRedis.use(server.url, run);

  for (const { what, lost, intact } of LOSSES) {
    test(`is told, and nothing of its tasks is deleted, when ${what} went with it`, () =>
      withStore(async (broken) => {
        await putThree(broken);
        await lose(broken, lost);
        const stored = await broken.everything();
        for (const mend of [false, true, true]) {
          const found = await broken.findings(mend);
          const told = found.filter(({ fault, subject, mended }) => fault === 'queue' && subject === 'q' && !mended);
          assert.notEqual(told.length, 0, JSON.stringify(found, null, 2));
          // What tasks are found by is put back, and nothing else is touched.
          assert.deepEqual(
            found.filter(({ fault, mended }) => fault === 'orphan' || (mended && fault !== 'unlisted')),
            [],
          );
        }
        const left = await broken.everything();
        for (const [key, value] of Object.entries(stored)) assert.deepEqual(left[key], value, key);
        if (intact) assert.deepEqual(left, stored);
      }));

    test(`has its tasks again once it is made anew, when ${what} went with it`, () =>
      withStore(async (broken) => {
        await putThree(broken);
        const sent = await bodies(broken);
        await lose(broken, lost);
        await broken.findings(true);
        await broken.bench.store.configure('q', { maxConcurrency: 10 }, 'merge');
        await broken.findings(true);
        assert.deepEqual(await broken.findings(false), []);
        assert.deepEqual(Object.keys(await bodies(broken)), Object.keys(sent));
        await leasesAll(broken.bench, 3);
        assert.deepEqual(await broken.findings(false), []);
      }));
  }

  test('is told by a group that names a task of it', () =>
    withStore(async (broken) => {
      await putThree(broken);
      await lose(broken, [...RECORD, ...LINES, ...IDS, 'w:q:*']);
      const found = await broken.findings(false);
      assert.deepEqual(
        found.filter(({ fault }) => fault === 'orphan'),
        [],
      );
    }));

  test('keeps the times of its grants', () =>
    withStore(async (broken) => {
      await broken.bench.store.configure('q', { rateLimit: { limit: 5, periodMs: 60_000 } }, 'merge');
      await putThree(broken);
      await lose(broken, RECORD);
      await broken.findings(true);
      assert.equal(await broken.redis.llen(broken.key('o:q')), 1);
    }));

  test('takes new tasks, and has its old ones beside them when it is mended', () =>
    withStore(async (broken) => {
      await putThree(broken);
      await lose(broken, RECORD);
      await broken.bench.putAll([{}, {}]);
      for (let round = 0; round < 3; round++) await broken.findings(true);
      assert.deepEqual(await broken.findings(false), []);
      await leasesAll(broken.bench, 5);
    }));
});

describe('what is left of a queue on Redis that is gone', () => {
  let server: RedisServer;
  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());

  test('is deleted where it names no task that is there, but not what is too long to be looked through', () =>
    BrokenRedis.use(server.url, async (broken) => {
      const { redis, key } = broken;
      await broken.bench.put();
      await redis.rpush(key('l:4:long'), ...Array.from({ length: 1000 }, (_, index) => String(index)));
      await redis.rpush(key('l:4:short'), ...Array.from({ length: 999 }, (_, index) => `${index}:5`));
      const found = await broken.findings(true);
      assert.deepEqual(found.map(({ fault, queue, mended }) => `${fault} of ${queue}, ${mended}`).sort(), [
        'orphan of short, true',
        'queue of long, false',
      ]);
      assert.deepEqual([await redis.llen(key('l:4:long')), await redis.exists(key('l:4:short'))], [1000, 0]);
    }));
});
