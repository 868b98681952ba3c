import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { NewTask } from '../../src/domain/task.ts';
import { Data } from '../../src/store/sqlite/data.ts';
import { Ends } from '../../src/store/sqlite/ends.ts';
import { enqueue } from '../../src/store/sqlite/enqueue.ts';
import { GroupCommit } from '../../src/store/sqlite/group-commit.ts';
import { migrate } from '../../src/store/sqlite/schema.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { json } from '../contract/workbench.ts';

let ids = 0;

function newTask(parts: Partial<NewTask> = {}): NewTask {
  return {
    ...{ id: `task-${++ids}`, type: null, payload: json('x'.repeat(500)), priority: 4, delayMs: null, runAt: null },
    ...{
      ttlMs: null,
      leaseMs: null,
      maxAttempts: null,
      backoff: null,
      tags: [],
      metadata: {},
      trace: null,
      unique: null,
      groupKey: null,
      retentionMs: null,
    },
    ...{ idempotency: null, ...parts },
  };
}

/** A task that the database itself refuses: its schema knows no such priority. */
const badTask = (): NewTask => newTask({ priority: 10 });

async function openStore(): Promise<SqliteStore> {
  const store = new SqliteStore({ path: ':memory:', durability: 'full' });
  await store.open();
  return store;
}

/** A database of its own, with what `PRAGMA` statements say, and the group commit on it. */
function openGroup(pragmas: string): { db: DatabaseSync; data: Data; group: GroupCommit } {
  const db = new DatabaseSync(':memory:');
  migrate(db, 0);
  db.exec(pragmas);
  const data = new Data(db, () => 1000, new Ends());
  return { db, data, group: new GroupCommit(data) };
}

describe('group commit', () => {
  it('answers operations of one turn together, after one commit', async (t) => {
    // However long the turn takes: a group that is late is committed in parts.
    t.mock.method(performance, 'now', () => 0);
    const { db, data, group } = openGroup('');
    const events: string[] = [];
    const commit = data.commit.bind(data);
    data.commit = () => {
      commit();
      events.push('commit');
    };
    const storing = ['a', 'b', 'c'].map((queue) =>
      group.run(() => enqueue(data, [{ queue, tasks: [newTask()] }])).then(() => events.push(queue)),
    );
    assert.equal(db.prepare('SELECT count(*) AS n FROM tasks').get()?.['n'], 0);
    await setImmediate();
    await Promise.all(storing);
    assert.deepEqual(events, ['commit', 'a', 'b', 'c']);
  });

  it('fails the operation that the database refuses, and none of its neighbours', async () => {
    const store = await openStore();
    const put = (tasks: NewTask[]) => store.enqueue([{ queue: 'q', tasks }]);
    const good = [newTask(), newTask(), newTask()];
    const bad = badTask();
    const [first, failed, second, third] = await Promise.allSettled([
      put(good.slice(0, 1)),
      put([newTask(), bad]),
      put(good.slice(1, 2)),
      put(good.slice(2)),
    ]);
    assert.deepEqual(
      [first?.status, failed?.status, second?.status, third?.status],
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    );
    const { tasks } = await store.list({ queue: 'q', state: null, type: null, limit: 10, cursor: null });
    assert.deepEqual(
      tasks.map(({ id }) => id),
      good.map(({ id }) => id),
    );
    const { queue } = await store.queue('q');
    assert.deepEqual([queue?.counts.ready, queue?.totals.enqueued], [3, 3]);
    await store.close();
  });

  it('leaves nothing behind of an operation that failed: no queue, no count, no key', async () => {
    const store = await openStore();
    const idempotency = { key: 'k', fingerprint: 'f' };
    await assert.rejects(store.enqueue([{ queue: 'new', tasks: [newTask({ idempotency }), badTask()] }]));
    assert.equal((await store.queue('new')).queue, null);
    const other = newTask({ idempotency: { key: 'k', fingerprint: 'g' } });
    const { results } = await store.enqueue([{ queue: 'new', tasks: [other] }]);
    assert.equal(results[0]?.outcome, 'stored');
    assert.deepEqual((await store.queue('new')).queue?.totals.enqueued, 1);
    await store.close();
  });

  it('a fault of the program reaches the caller as it is, not as trouble with the storage', async () => {
    const store = await openStore();
    await assert.rejects(store.enqueue([{ queue: 'q', tasks: [badTask()] }]), (error) => {
      assert.ok(error instanceof Error && !(error instanceof StoreError));
      assert.match(error.message, /CHECK constraint failed/);
      return true;
    });
    await store.close();
  });

  it('says "full" when there is no room, keeps what it has, and goes on when there is room again', async () => {
    const { db, data, group } = openGroup('PRAGMA max_page_count = 80');
    const put = () => group.run(() => enqueue(data, [{ queue: 'q', tasks: [newTask()] }]));
    let stored = 0;
    const isFull = (error: unknown): boolean => error instanceof StoreError && error.kind === 'full';
    await assert.rejects(async () => {
      for (;;) {
        await put();
        stored += 1;
      }
    }, isFull);
    assert.ok(stored > 10, `only ${stored} tasks`);
    await assert.rejects(put(), isFull);
    assert.equal(db.prepare('SELECT count(*) AS n FROM tasks').get()?.['n'], stored);
    assert.equal(data.queues.byName('q')?.counts.ready, stored);
    db.exec('PRAGMA max_page_count = 1000');
    await put();
    assert.equal(data.queues.byName('q')?.counts.ready, stored + 1);
  });

  it('says "unavailable" when the file fails', async () => {
    const { db, data, group } = openGroup('PRAGMA query_only = ON');
    const put = () => group.run(() => enqueue(data, [{ queue: 'q', tasks: [newTask()] }]));
    const isUnavailable = (error: unknown): boolean => error instanceof StoreError && error.kind === 'unavailable';
    await assert.rejects(put(), isUnavailable);
    db.exec('PRAGMA query_only = OFF');
    assert.equal((await put()).results[0]?.outcome, 'stored');
  });
});
