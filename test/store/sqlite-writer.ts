import { JSON_NULL } from '../../src/domain/json-text.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';

/**
 * A process that stores tasks in the file named by its argument, many at once, until it is killed. It writes the id
 * of every task whose storing was answered, one per line, after the answer.
 */
const CALLERS = 16;
const [path = ''] = process.argv.slice(2);
const store = new SqliteStore({ path, durability: 'full' });
await store.open();

async function storeTasks(): Promise<never> {
  for (;;) {
    const id = store.newTaskId('q');
    const task = { id, type: null, payload: JSON_NULL, priority: 4, delayMs: null, runAt: null, ttlMs: null };
    const rest = {
      leaseMs: null,
      maxAttempts: null,
      backoff: null,
      tags: [],
      metadata: {},
      trace: null,
      unique: null,
      groupKey: null,
      retentionMs: null,
    };
    await store.enqueue([{ queue: 'q', tasks: [{ ...task, ...rest, idempotency: { key: id, fingerprint: 'f' } }] }]);
    process.stdout.write(`${id}\n`);
  }
}

await Promise.all(Array.from({ length: CALLERS }, storeTasks));
