import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { BrokerProcess } from './broker-process.ts';
import type { Home, HomeOptions } from './home.ts';

/** One broker with the embedded store, `full`. */
export async function openEmbedded({ code }: HomeOptions): Promise<Home> {
  const broker = await BrokerProcess.start({ name: 'embedded', code, env: { LESSOR_STORE: 'sqlite:./tasks.db' } });
  return {
    name: 'embedded',
    urls: [broker.url],
    brokers: [broker],
    redis: null,
    async leftovers() {
      await broker.terminate();
      return rowsLeft(join(broker.dir, 'tasks.db'));
    },
    stop: () => broker.stop(),
  };
}

/** Tables that hold rows of tasks; the queues were deleted too. */
function rowsLeft(path: string): string[] {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    const tables = db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .all()
      .map(({ name }) => String(name));
    return tables.flatMap((table) => {
      const rows = Number(db.prepare(`SELECT count(*) AS rows FROM "${table}"`).get()?.['rows']);
      return rows > 0 && !EXPECTED.test(table) ? [`${table}: ${rows} rows`] : [];
    });
  } finally {
    db.close();
  }
}

/** What a store that holds nothing still has. */
const EXPECTED = /^(meta|counters|sqlite_.*)$/;
