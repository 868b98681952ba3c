import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import type { Fault } from '../../src/store/census.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { StoreRefusal } from '../../src/store/store.ts';
import { held, json, Workbench } from '../contract/workbench.ts';
import { findingsOf } from '../support/sqlite-harness.ts';
import { CLOCK_START } from '../support/store-harness.ts';

/** A way to break a file by hand, while no broker has it. */
interface Break {
  what: string;
  fault: Fault;
  /** What is there before; answers what the finding must be about. */
  given: (bench: Workbench) => Promise<string>;
  sql: string;
  /** That it is a store again. */
  works?: (bench: Workbench, subject: string) => Promise<void>;
}

const grouped = (number: number) => ({ groupKey: 'g', payload: json(number) });
const unique = { key: 'u', until: 'finished', ttlMs: null, onConflict: 'return' } as const;

const EACH = { ready: 1, leased: 1, scheduled: 1, completed: 1, dead: 1, cancelled: 1, expired: 1 };

const BREAKS: readonly Break[] = [
  ...(['ready', 'leased', 'scheduled', 'completed', 'dead', 'cancelled', 'expired', 'blocked'] as const).map(
    (state): Break => ({
      what: `a drifted count of ${state} tasks`,
      fault: 'counter',
      async given(bench) {
        await bench.oneOfEach();
        return state;
      },
      sql: `UPDATE queues SET ${state} = ${state} + 7`,
      async works(bench) {
        const { counts } = await bench.queue();
        assert.deepEqual({ ...counts }, { ...EACH, blocked: 0 });
      },
    }),
  ),
  {
    what: 'a task without its body',
    fault: 'bodiless',
    async given(bench) {
      const { id } = await bench.put();
      await bench.put({ payload: json('other') });
      return id;
    },
    sql: 'DELETE FROM bodies WHERE seq = 1',
    works: async (bench) => assert.equal((await bench.drain()).length, 1),
  },
  ...(['bodies', 'notes'] as const).map(
    (table): Break => ({
      what: `a row of ${table} without a task`,
      fault: 'orphan',
      async given(bench) {
        const claim = await bench.putAndTake({});
        await bench.heartbeat(claim, { progress: json(1) });
        return 'task 99';
      },
      sql:
        table === 'bodies'
          ? `INSERT INTO bodies (seq, payload) VALUES (99, '1')`
          : 'INSERT INTO notes (seq) VALUES (99)',
    }),
  ),
  {
    what: 'an idempotency key without a task',
    fault: 'orphan',
    given: async (bench) => (await bench.put({ idempotency: { key: 'k', fingerprint: 'f' } })).id,
    sql: `DELETE FROM tasks; DELETE FROM bodies; UPDATE queues SET ready = 0`,
    async works(bench) {
      const outcome = await bench.enqueue([bench.task({ idempotency: { key: 'k', fingerprint: 'f' } })]);
      assert.ok(outcome.outcome === 'stored' && !outcome.tasks[0]?.replayed);
    },
  },
  {
    what: 'an idempotency key of a queue that is gone',
    fault: 'orphan',
    given: async (bench) => bench.put().then(() => 'queue 77'),
    sql: `INSERT INTO idempotency_keys (queue_no, key, fingerprint, expires_at, task_id, kept_state)
      VALUES (77, 'k', 'f', 1, 't', 'completed')`,
  },
  {
    what: 'times of grants of a queue that is gone',
    fault: 'orphan',
    given: async (bench) => bench.put().then(() => 'queue 77'),
    sql: 'INSERT INTO rate_log (queue_no, no, at) VALUES (77, 1, 5)',
  },
  {
    what: 'times of grants of a queue without a rate limit',
    fault: 'orphan',
    given: async (bench) => bench.put().then(() => 'q'),
    sql: 'INSERT INTO rate_log (queue_no, no, at) SELECT no, 1, 5 FROM queues',
  },
  {
    what: 'a unique key that a task holds after its end',
    fault: 'orphan',
    async given(bench) {
      const { id } = await bench.put({ unique });
      await bench.cancel(id);
      return id;
    },
    sql: `UPDATE tasks SET unique_held = 'u'`,
    async works(bench) {
      const outcome = await bench.enqueue([bench.task({ unique })]);
      assert.ok(outcome.outcome === 'stored' && !outcome.tasks[0]?.deduplicated);
    },
  },
  {
    what: 'a unique key that its task does not hold',
    fault: 'unique',
    given: async (bench) => (await bench.put({ unique })).id,
    sql: 'UPDATE tasks SET unique_held = NULL',
    async works(bench) {
      const outcome = await bench.enqueue([bench.task({ unique })]);
      assert.ok(outcome.outcome === 'stored' && outcome.tasks[0]?.deduplicated);
    },
  },
  {
    what: 'a lease that does not count in its group',
    fault: 'unlisted',
    async given(bench) {
      await bench.putAll([grouped(1), grouped(2)]);
      return (await bench.take()).task.id;
    },
    sql: `UPDATE tasks SET group_phase = NULL WHERE state = 'leased'`,
    works: async (bench) => assert.deepEqual(await bench.lease(), []),
  },
  {
    what: 'a blocked task that has lost its place in its group',
    fault: 'unlisted',
    async given(bench) {
      const [, second] = await bench.putAll([grouped(1), grouped(2)]);
      return second!.id;
    },
    sql: `UPDATE tasks SET group_place = NULL, group_phase = NULL WHERE state = 'blocked'`,
    async works(bench) {
      await bench.ack(held(await bench.take()));
      await bench.ack(held(await bench.take()));
    },
  },
  {
    what: 'a blocked task of no group',
    fault: 'unlisted',
    async given(bench) {
      const [, second] = await bench.putAll([grouped(1), grouped(2)]);
      return second!.id;
    },
    sql: `UPDATE tasks SET group_key = NULL, group_place = NULL, group_phase = NULL WHERE state = 'blocked'`,
    works: async (bench) => assert.equal((await bench.drain()).length, 2),
  },
  {
    what: 'two ready tasks of a group',
    fault: 'group',
    async given(bench) {
      const [, second] = await bench.putAll([grouped(1), grouped(2)]);
      return second!.id;
    },
    sql: `UPDATE tasks SET state = 'ready', group_phase = 'ready', place = 99 WHERE state = 'blocked'`,
    works: async (bench) => assert.equal((await bench.lease({ max: 5 })).length, 1),
  },
  {
    what: 'a group of which nothing is ready',
    fault: 'stalled',
    async given(bench) {
      await bench.putAll([grouped(1), grouped(2)]);
      return 'g';
    },
    sql: `UPDATE tasks SET state = 'blocked', group_phase = 'blocked', place = NULL;
      UPDATE queues SET ready = 0, blocked = 2`,
    async works(bench) {
      await bench.ack(held(await bench.take()));
      await bench.ack(held(await bench.take()));
    },
  },
  {
    what: 'a retention of its own that nobody watches',
    fault: 'schedule',
    async given(bench) {
      const claim = await bench.putAndTake({ retentionMs: 50 });
      await bench.ack(claim);
      return claim.id;
    },
    sql: 'UPDATE tasks SET kept_until = NULL',
    works: async (bench) => assert.equal((await bench.pass(1100)).pruned, 1),
  },
  {
    what: 'a queue that retention does not look at',
    fault: 'schedule',
    async given(bench) {
      await bench.ack(await bench.putAndTake({}));
      return 'retention';
    },
    sql: 'UPDATE queues SET retain_at = NULL',
    works: async (bench) => assert.equal((await bench.pass(86_400_000 * 30)).pruned, 1),
  },
  ...(['places', 'grants'] as const).map(
    (counter): Break => ({
      what: `a counter of ${counter} that was set back`,
      fault: 'sequence',
      async given(bench) {
        await bench.putAndTake({});
        await bench.put();
        return counter;
      },
      sql: `UPDATE counters SET ${counter} = 0`,
      async works(bench) {
        const { id } = await bench.put();
        assert.equal((await bench.drain()).at(-1), id);
      },
    }),
  ),
  {
    what: 'an operation of a queue that is gone',
    fault: 'operation',
    given: async (bench) => bench.put().then(() => '00op'),
    sql: `INSERT INTO operations (id, queue, died_until, state, created_at, next_at, position_at, position_seq, seen, total, matched, moved)
      VALUES ('00op', 'gone', 5, 'running', 5, 5, 0, 0, 0, 1, 0, 0)`,
  },
];

describe('a census of a broken SQLite file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-doctor-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let files = 0;
  const freshPath = (): string => join(folder, `${++files}.db`);

  /** Opens the file with a clock that only the test moves, and closes it again. */
  async function withStore<Result>(path: string, run: (bench: Workbench) => Promise<Result>): Promise<Result> {
    let time = CLOCK_START;
    const store = new SqliteStore({ path, durability: 'normal', clock: () => time });
    await store.open();
    const refuse = (): Promise<never> => Promise.reject(new Error('not for this test'));
    const bench = new Workbench({
      ...{ store, now: () => time, stored: refuse, reopen: refuse, findings: refuse, close: refuse },
      async advance(ms) {
        time += ms;
      },
    });
    try {
      return await run(bench);
    } finally {
      await store.close();
    }
  }

  function rows(path: string): unknown {
    const db = new DatabaseSync(path, { readOnly: true });
    const tables = [
      'counters',
      'queues',
      'tasks',
      'bodies',
      'notes',
      'idempotency_keys',
      'rate_log',
      'regroupings',
      'operations',
    ];
    const all = tables.map((table) => db.prepare(`SELECT * FROM ${table}`).all());
    db.close();
    return all;
  }

  for (const { what, fault, given, sql, works } of BREAKS) {
    test(`finds and mends ${what}`, async () => {
      const path = freshPath();
      const subject = await withStore(path, given);
      assert.deepEqual(await findingsOf(path, false), []);
      const db = new DatabaseSync(path);
      db.exec(sql);
      db.close();
      const stored = rows(path);
      const found = await findingsOf(path, false);
      const isIt = (finding: { fault: Fault; subject: string }) =>
        finding.fault === fault && finding.subject === subject;
      assert.ok(found.some(isIt), JSON.stringify(found, null, 2));
      assert.ok(found.every(({ mended }) => !mended));
      assert.deepEqual(rows(path), stored, 'a look changes nothing');
      assert.ok((await findingsOf(path, true)).some((finding) => isIt(finding) && finding.mended));
      assert.deepEqual(await findingsOf(path, false), []);
      await withStore(path, async (bench) => works?.(bench, subject));
      assert.deepEqual(await findingsOf(path, false), []);
    });
  }

  test('only tells of tasks whose queue has lost its record, and keeps all that is theirs', async () => {
    const path = freshPath();
    await withStore(path, async (bench) => {
      await bench.put({ idempotency: { key: 'k', fingerprint: 'f' } });
      await bench.store.configure('q', { rateLimit: { limit: 5, periodMs: 60_000 } }, 'merge');
      await bench.take();
    });
    const db = new DatabaseSync(path);
    db.exec('INSERT INTO regroupings (queue_no, after_seq) SELECT no, 0 FROM queues; DELETE FROM queues');
    db.close();
    const stored = rows(path);
    for (const mend of [false, true]) {
      assert.deepEqual(
        (await findingsOf(path, mend)).map(({ fault, mended }) => [fault, mended]),
        [['queue', false]],
      );
    }
    assert.deepEqual(rows(path), stored);
  });

  test('builds an index anew that lacks an entry', async () => {
    const path = freshPath();
    const ids = await withStore(path, async (bench) => (await bench.putAll([{}, {}])).map(({ id }) => id));
    const db = new DatabaseSync(path, { defensive: false });
    db.exec(`PRAGMA writable_schema = ON;
      UPDATE sqlite_schema SET sql = replace(sql, 'ready', 'xeady') WHERE name = 'tasks_line'`);
    db.close();
    const other = new DatabaseSync(path, { defensive: false });
    other.exec(`PRAGMA writable_schema = ON; UPDATE tasks SET place = place + 10;
      UPDATE sqlite_schema SET sql = replace(sql, 'xeady', 'ready') WHERE name = 'tasks_line'`);
    other.close();
    const found = await findingsOf(path, false);
    assert.ok(found.length > 0 && found.every(({ fault }) => fault === 'index'), JSON.stringify(found));
    assert.ok((await findingsOf(path, true)).some(({ fault, mended }) => fault === 'index' && mended));
    assert.deepEqual(await findingsOf(path, false), []);
    assert.deepEqual(await withStore(path, (bench) => bench.drain()), ids);
  });

  test('only tells of a file that is damaged', async () => {
    const path = freshPath();
    await withStore(path, async (bench) => {
      for (let part = 0; part < 5; part++)
        await bench.putAll(Array.from({ length: 500 }, () => ({ payload: json('x'.repeat(99)) })));
    });
    const bytes = readFileSync(path);
    bytes.fill(0xff, 20 * 4096, 40 * 4096);
    writeFileSync(path, bytes);
    for (const mend of [false, true]) {
      const found = await findingsOf(path, mend);
      assert.ok(found.length > 0 && found.every(({ fault, mended }) => fault === 'damaged' && !mended));
    }
    assert.deepEqual(readFileSync(path), bytes);
  });

  test('is refused, with what to do, while a store has the file', async () => {
    const path = freshPath();
    await withStore(path, async () => {
      await assert.rejects(
        findingsOf(path, false),
        (error) =>
          error instanceof StoreRefusal && /is in use by a broker: stop it, or have it make a copy/.test(error.message),
      );
    });
  });

  test('is refused, with what to do, where an older version wrote the file', async () => {
    const path = freshPath();
    await withStore(path, (bench) => bench.put());
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 1');
    db.close();
    await assert.rejects(
      findingsOf(path, true),
      /written by an older version of Lessor: start this version on it once/,
    );
  });
});
