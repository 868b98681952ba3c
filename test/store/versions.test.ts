import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { RedisCensus } from '../../src/store/redis/census.ts';
import { DATA_VERSION } from '../../src/store/redis/data-version.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { APPLICATION_ID, MIGRATIONS } from '../../src/store/sqlite/schema.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { StoreRefusal } from '../../src/store/store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { findingsOf } from '../support/sqlite-harness.ts';

const VICTIM = fileURLToPath(new URL('migration-victim.ts', import.meta.url));
const TASKS = 50;

/** One line, whatever it says. */
async function refusal(opening: Promise<unknown>): Promise<string> {
  let line = '';
  await assert.rejects(opening, (error) => {
    assert.ok(error instanceof StoreRefusal);
    line = error.message;
    return true;
  });
  assert.doesNotMatch(line, /\n/);
  return line;
}

describe('a SQLite file of an older version', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-versions-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let files = 0;

  /** A file as that version has left it, with ready tasks. */
  function older(version: number): string {
    const path = join(folder, `${++files}.db`);
    const db = new DatabaseSync(path);
    for (const step of MIGRATIONS.slice(0, version)) db.exec(step);
    db.exec(`
      PRAGMA application_id = ${APPLICATION_ID};
      PRAGMA user_version = ${version};
      INSERT INTO queues (no, name, paused, created_at, settings, ready, total_enqueued)
        VALUES (1, 'q', 0, 5, '{"leaseMs":700}', ${TASKS}, ${TASKS});
      UPDATE counters SET places = ${TASKS};
    `);
    for (let seq = 1; seq <= TASKS; seq++) {
      db.exec(`
        INSERT INTO tasks (seq, id, queue_no, state, priority, place, created_at, run_at)
          VALUES (${seq}, '00old${seq}', 1, 'ready', 4, ${seq}, 5, 5);
        INSERT INTO bodies (seq, payload) VALUES (${seq}, '${seq}');
      `);
    }
    db.close();
    return path;
  }

  async function assertWhole(path: string): Promise<void> {
    const store = new SqliteStore({ path, durability: 'normal' });
    await store.open();
    const lease = { queue: 'q', token: 't', max: TASKS + 1, leaseMs: null, workerId: null, requestId: null };
    const [grants = []] = (await store.lease([lease])).results;
    await store.close();
    assert.deepEqual(
      grants.map(({ task }) => task.payload),
      Array.from({ length: TASKS }, (_, index) => String(index + 1)),
    );
    assert.deepEqual(await findingsOf(path, false), []);
  }

  for (let version = 1; version < MIGRATIONS.length; version++) {
    it(`is brought up to date from version ${version}, and is sound then`, () => assertWhole(older(version)));
  }

  // Each piece of the transaction: its BEGIN is the first, the versions and the COMMIT come last.
  for (let pieces = 0; pieces <= MIGRATIONS.length; pieces++) {
    it(`is what it was when that was cut off by a SIGKILL after ${pieces} pieces, and is brought up to date by the next start`, async () => {
      const path = older(1);
      const child = spawn(process.execPath, [VICTIM, path, String(pieces)], { stdio: ['ignore', 'ignore', 'inherit'] });
      assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL']);
      const db = new DatabaseSync(path);
      assert.equal(db.prepare('PRAGMA user_version').get()?.['user_version'], 1);
      assert.equal(db.prepare('SELECT count(*) AS tasks FROM tasks').get()?.['tasks'], TASKS);
      db.close();
      await assertWhole(path);
    });
  }
});

describe('data of another version on Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  before(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  for (const [which, version, advice] of [
    [
      'a newer',
      DATA_VERSION + 1,
      /written by a newer version of Lessor .*: start that version, or use another LESSOR_PREFIX$/,
    ],
    [
      'an older',
      DATA_VERSION - 1,
      /does not read .*: let the version that wrote them work them off, or use another LESSOR_PREFIX$/,
    ],
  ] as const) {
    it(`are refused by a broker and by the doctor with one line that says what to do, and left as they are: ${which} one`, async () => {
      await redis.flushall();
      const marks = { version: String(version), shards: '4' };
      await redis.hset('lessor:{0}:meta', marks);
      const options = { url: server.url, prefix: 'lessor', shards: 4, durability: 'default' } as const;
      const store = new RedisStore(options);
      assert.match(await refusal(store.open()), advice);
      await store.close();
      const census = new RedisCensus(options);
      assert.match(await refusal(census.open()), advice);
      await census.close();
      assert.deepEqual(await redis.keys('*'), ['lessor:{0}:meta']);
      assert.deepEqual(await redis.hgetall('lessor:{0}:meta'), marks);
    });
  }

  it('is nothing to look at for the doctor where there is none, and none is made', async () => {
    await redis.flushall();
    const census = new RedisCensus({ url: server.url, prefix: 'lessor' });
    assert.match(
      await refusal(census.open()),
      /^there are no tasks of Lessor at .*: look at LESSOR_STORE and LESSOR_PREFIX$/,
    );
    await census.close();
    assert.deepEqual(await redis.keys('*'), []);
  });

  it('looks at as many shards as the data have', async () => {
    await redis.flushall();
    const store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 7, durability: 'default' });
    await store.open();
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) await store.configure(name, {}, 'merge');
    await store.close();
    const census = new RedisCensus({ url: server.url, prefix: 'lessor' });
    await census.open();
    const { queues } = await census.take({ mend: false, found: (finding) => assert.fail(JSON.stringify(finding)) });
    await census.close();
    assert.equal(queues, 8);
  });
});
