import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { JSON_NULL, type JsonText } from '../../src/domain/json-text.ts';
import type { NewTask } from '../../src/domain/task.ts';
import { APPLICATION_ID, MIGRATIONS } from '../../src/store/sqlite/schema.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { StoreError, StoreRefusal } from '../../src/store/store.ts';
import { until } from '../support/until.ts';

const WRITER = fileURLToPath(new URL('sqlite-writer.ts', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'lessor-sqlite-'));
let files = 0;
const freshPath = (): string => join(folder, `${++files}.db`);

async function opened(path: string, durability: 'full' | 'normal' = 'full'): Promise<SqliteStore> {
  const store = new SqliteStore({ path, durability });
  await store.open();
  return store;
}

function newTask(store: SqliteStore): NewTask {
  return {
    ...{ id: store.newTaskId('q'), type: null, payload: JSON_NULL, priority: 4, delayMs: null, runAt: null },
    ...{ ttlMs: null, leaseMs: null, maxAttempts: null, backoff: null, tags: [], metadata: {}, trace: null },
    idempotency: null,
    unique: null,
    groupKey: null,
    retentionMs: null,
  };
}

/** The one line with which a file is refused. */
async function refusal(path: string): Promise<string> {
  const store = new SqliteStore({ path, durability: 'full' });
  let line = '';
  await assert.rejects(store.open(), (error) => {
    assert.ok(error instanceof StoreRefusal);
    line = error.message;
    return true;
  });
  assert.doesNotMatch(line, /\n/);
  assert.ok(line.startsWith(path), line);
  return line;
}

/** Runs the writer until it has answered for `count` tasks, and kills it; answers all ids it has written. */
async function killedWriter(path: string, count: number): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const answered: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    answered.push(line);
    if (answered.length === count) child.kill('SIGKILL');
  }
  const [, signal] = await ended;
  assert.equal(signal, 'SIGKILL');
  return answered;
}

describe('the SQLite file', () => {
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is rid of the copy that a killed process was making when it is opened', async () => {
    const path = freshPath();
    const left = [`${path}-backup-in-progress`, `${path}-backup-in-progress-journal`];
    for (const file of left) writeFileSync(file, 'half');
    const store = await opened(path);
    assert.deepEqual(left.filter(existsSync), []);
    await store.close();
  });

  it('is made with its directory', async () => {
    const path = join(folder, 'made', 'on', 'the', 'way', 'lessor.db');
    const store = await opened(path);
    assert.equal((await store.describe()).location, path);
    await store.close();
    assert.equal(readFileSync(path).subarray(0, 15).toString(), 'SQLite format 3');
  });

  it('is refused while another store of this process has it, and free again once that is closed', async () => {
    const path = freshPath();
    const first = await opened(path);
    assert.match(await refusal(path), /is in use by another Lessor process/);
    await first.check();
    await first.close();
    await (await opened(path)).close();
  });

  it('is refused while another process has it', async () => {
    const path = freshPath();
    const child = spawn(process.execPath, [WRITER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    assert.match(await refusal(path), /is in use by another Lessor process/);
    child.kill('SIGKILL');
    await ended;
    await (await opened(path)).close();
  });

  it('is refused when a newer version wrote it, and left as it is', async () => {
    const path = freshPath();
    await (await opened(path)).close();
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 99');
    db.close();
    const before = readFileSync(path);
    assert.match(await refusal(path), /was written by a newer version of Lessor/);
    assert.deepEqual(readFileSync(path), before);
  });

  it('of the first version is brought to the newest one, with all its tasks', async () => {
    const path = freshPath();
    const db = new DatabaseSync(path);
    db.exec(MIGRATIONS[0] ?? '');
    db.exec(`
      PRAGMA application_id = ${APPLICATION_ID};
      PRAGMA user_version = 1;
      INSERT INTO queues (no, name, paused, created_at, settings, ready) VALUES (1, 'q', 0, 5, '{"leaseMs":700}', 1);
      INSERT INTO tasks (seq, id, queue_no, state, priority, place, created_at, run_at)
        VALUES (1, '00old', 1, 'ready', 4, 1, 5, 5);
      INSERT INTO bodies (seq, payload) VALUES (1, '{"a":1}');
      UPDATE counters SET places = 1;
    `);
    db.close();
    const store = await opened(path);
    const lease = { queue: 'q', token: 't', max: 9, leaseMs: null, workerId: null, requestId: null };
    await store.enqueue([{ queue: 'q', tasks: [newTask(store)] }]);
    const { results } = await store.lease([lease]);
    const [first, second] = results.flat().map(({ task }) => task);
    assert.deepEqual([first?.id, first?.payload, first?.uniqueKey], ['00old', '{"a":1}', null]);
    assert.equal(second?.state, 'leased');
    await store.close();
    await (await opened(path)).close();
  });

  it('is refused when it is no database, and left as it is', async () => {
    const path = freshPath();
    const text = 'these are no tasks\n'.repeat(100);
    writeFileSync(path, text);
    assert.match(await refusal(path), /is no Lessor database/);
    assert.equal(readFileSync(path, 'utf8'), text);
  });

  it('is refused when it is the database of another program, and left as it is', async () => {
    const path = freshPath();
    const db = new DatabaseSync(path);
    db.exec('CREATE TABLE birds (name TEXT)');
    db.close();
    const before = readFileSync(path);
    assert.match(await refusal(path), /database of another program/);
    assert.deepEqual(readFileSync(path), before);
  });

  it('is refused when its path is a directory', async () => {
    const path = freshPath();
    mkdirSync(path);
    assert.match(await refusal(path), /cannot be opened/);
  });

  it('says how durable it is by what SQLite answers', async () => {
    for (const durability of ['full', 'normal'] as const) {
      const path = freshPath();
      const store = await opened(path, durability);
      const description = await store.describe();
      assert.deepEqual([description.durability, description.location], [durability, path]);
      assert.match(description.product, /^SQLite \d+\.\d+\.\d+$/);
      await store.close();
    }
    const store = await opened(':memory:');
    const { durability, location, note } = await store.describe();
    assert.deepEqual([durability, location], ['none', ':memory:']);
    assert.match(note, /memory/);
    await store.close();
  });

  it('has a write-ahead log beside it while it is open, and none once it is closed', async () => {
    const path = freshPath();
    const store = await opened(path);
    await store.check();
    assert.ok(readFileSync(`${path}-wal`).length > 0);
    await store.close();
    assert.throws(() => readFileSync(`${path}-wal`), { code: 'ENOENT' });
  });

  it('holds every task that was answered for before a SIGKILL, each of them once', async () => {
    const path = freshPath();
    const answered = await killedWriter(path, 500);
    assert.ok(answered.length >= 500);
    const store = await opened(path);
    const found: string[] = [];
    for (let cursor: string | null = null; ; ) {
      const page = await store.list({ queue: 'q', state: 'ready', type: null, limit: 1000, cursor });
      found.push(...page.tasks.map(({ id }) => id));
      if (page.next === null) break;
      cursor = page.next;
    }
    const stored = new Set(found);
    assert.equal(stored.size, found.length);
    assert.deepEqual(
      answered.filter((id) => !stored.has(id)),
      [],
    );
    const { queue } = await store.queue('q');
    assert.deepEqual([queue?.counts.ready, queue?.totals.enqueued], [found.length, found.length]);
    await store.close();
  });

  it('goes on after a SIGKILL where it was: new tasks come after the old ones', async () => {
    const path = freshPath();
    await killedWriter(path, 50);
    const store = await opened(path);
    const task = newTask(store);
    await store.enqueue([{ queue: 'q', tasks: [task] }]);
    const { results } = await store.lease([
      { queue: 'q', token: 't', max: 100, leaseMs: null, workerId: null, requestId: null },
    ]);
    const leased = results[0]?.map((grant) => grant.task.createdAt) ?? [];
    assert.deepEqual(
      leased,
      leased.toSorted((a, b) => a - b),
    );
    const { tasks } = await store.list({ queue: 'q', state: null, type: null, limit: 1000, cursor: null });
    assert.equal(tasks.at(-1)?.id, task.id);
    await store.close();
  });

  it('is committed when it is closed: what was asked for before is done, what comes after is refused', async () => {
    const path = freshPath();
    const store = await opened(path);
    const task = newTask(store);
    const storing = store.enqueue([{ queue: 'q', tasks: [task] }]);
    const closing = store.close();
    assert.equal((await storing).results[0]?.outcome, 'stored');
    await closing;
    const isClosed = (error: unknown): boolean => error instanceof StoreError && error.kind === 'closed';
    await assert.rejects(store.enqueue([{ queue: 'q', tasks: [task] }]), isClosed);
    await assert.rejects(store.get([task.id]), isClosed);
    await assert.rejects(store.check(), isClosed);
    await store.close();
    const again = await opened(path);
    assert.equal((await again.get([task.id])).results[0]?.id, task.id);
    await again.close();
  });

  it('is closed without waiting for a copy of it, of which nothing is left', async () => {
    const path = freshPath();
    const store = await opened(path);
    const payload = JSON.stringify('x'.repeat(1_000_000)) as JsonText;
    for (let part = 0; part < 4; part++) {
      const tasks = Array.from({ length: 20 }, () => ({ ...newTask(store), payload }));
      await store.enqueue([{ queue: 'q', tasks }]);
    }
    const copy = `${path}-backup-in-progress`;
    const isClosed = (error: unknown): boolean => error instanceof StoreError && error.kind === 'closed';
    const copying = assert.rejects(store.backup(new AbortController().signal), isClosed);
    await until(async () => statSync(copy, { throwIfNoEntry: false })?.size, { what: 'the copy has begun' });
    await store.close();
    await copying;
    for (const left of [copy, `${copy}-journal`]) assert.equal(existsSync(left), false, left);
  });

  it('never sees time go back', async () => {
    let time = 5000;
    const store = new SqliteStore({ path: ':memory:', durability: 'full', clock: () => time });
    await store.open();
    assert.equal((await store.sweep()).now, 5000);
    time = 1000.7;
    assert.equal((await store.sweep()).now, 5000);
    time = 6000.7;
    assert.equal((await store.sweep()).now, 6000);
    await store.close();
  });
});
