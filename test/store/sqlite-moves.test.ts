import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { it } from 'node:test';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { nackOf, realTimeBench } from '../contract/workbench.ts';

const ANY = { type: null, errorCode: null, diedBefore: null };
const TASKS = 3;

it('tasks on their way to another queue go on without one that has lost its body, which stays where it is', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-sqlite-moves-'));
  const path = join(folder, 'tasks.db');
  let store = new SqliteStore({ path, durability: 'full' });
  t.after(async () => {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await store.open();
  let bench = realTimeBench(store);
  await bench.putAll(Array.from({ length: TASKS }, () => ({})));
  for (const { task, token } of await bench.lease({ max: TASKS })) {
    await bench.settle(nackOf({ id: task.id, token }, { retryable: false }));
  }
  await store.close();
  const db = new DatabaseSync(path);
  db.exec('DELETE FROM bodies WHERE seq = 1');
  db.close();
  store = new SqliteStore({ path, durability: 'full' });
  await store.open();
  bench = realTimeBench(store);

  const id = store.newTaskId('q');
  await store.createOperations([{ id, queue: 'q', to: 'other', filter: ANY, max: null, ratePerSec: null }]);
  const ids = Array.from({ length: TASKS }, () => store.newTaskId('other'));
  const { results } = await store.stepOperations([{ id, limit: TASKS, ids }]);

  const operation = results[0]?.operation;
  assert.deepEqual([operation?.state, operation?.matched, operation?.moved], ['completed', TASKS - 1, TASKS - 1]);
  assert.equal((await bench.queue('other')).counts.ready, TASKS - 1);
  assert.equal((await bench.queue('q')).counts.dead, 1);
});
