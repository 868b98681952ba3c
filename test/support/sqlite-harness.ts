import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Finding } from '../../src/store/census.ts';
import { SqliteCensus } from '../../src/store/sqlite/census.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { CLOCK_START, type OpenStore, type StoreHarness } from './store-harness.ts';

/** What a census finds in a file that is free. */
export async function findingsOf(path: string, mend: boolean): Promise<Finding[]> {
  const census = new SqliteCensus(path);
  census.open();
  const found: Finding[] = [];
  await census.take({ mend, found: (finding) => found.push(finding) });
  await census.close();
  return found;
}

/** SQLite stores, each in a file of its own in a temporary folder. */
export function sqliteHarness(options: { durability?: 'full' | 'normal' } = {}): StoreHarness {
  const durability = options.durability ?? 'full';
  const dirs: string[] = [];
  return {
    name: 'sqlite',
    async open(): Promise<OpenStore> {
      const dir = await mkdtemp(join(tmpdir(), 'lessor-sqlite-'));
      dirs.push(dir);
      let time = CLOCK_START;
      const make = async (): Promise<SqliteStore> => {
        const store = new SqliteStore({ path: join(dir, 'lessor.db'), durability, clock: () => time });
        await store.open();
        return store;
      };
      let store = await make();
      return {
        get store() {
          return store;
        },
        now: () => time,
        async advance(ms) {
          time += ms;
        },
        async reopen() {
          await store.close();
          store = await make();
        },
        async stored() {
          await store.close();
          const db = new DatabaseSync(join(dir, 'lessor.db'));
          const tables = db
            .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('counters', 'queues')`)
            .all();
          const found = tables.flatMap(({ name }) => {
            const rows = Number(db.prepare(`SELECT count(*) AS rows FROM ${String(name)}`).get()?.['rows']);
            return rows === 0 ? [] : [`${rows} in ${String(name)}`];
          });
          db.close();
          store = await make();
          return found.sort();
        },
        async findings(mend = false) {
          await store.close();
          const found = await findingsOf(join(dir, 'lessor.db'), mend);
          store = await make();
          return found;
        },
        async close() {
          await store.close();
          await rm(dir, { recursive: true, force: true });
        },
      };
    },
    async stop() {
      await Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true })));
    },
  };
}
