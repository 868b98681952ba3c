import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backup } from '../../../src/backup/backup.ts';
import type { StoreConfig } from '../../../src/store/open-store.ts';
import { recorderEnv, setDiskFault } from '../disk/recorder.ts';
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
    censusOf: (dir) => copyOf(broker, dir),
    async leftovers() {
      await broker.terminate();
      return rowsLeft(join(broker.dir, 'tasks.db'));
    },
    stop: () => broker.stop(),
  };
}

/** The same on a disk that can be made to fail. */
export async function openFailingDisk({ code }: HomeOptions): Promise<Home> {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-disk-'));
  const root = join(folder, 'data');
  const faultFile = join(folder, 'fault');
  mkdirSync(root);
  setDiskFault(faultFile, 'none');
  const broker = await BrokerProcess.start({
    ...{ name: 'failing-disk', code },
    env: { LESSOR_STORE: `sqlite:${root}/tasks.db`, ...recorderEnv({ root, faultFile }) },
  });
  return {
    name: 'failing-disk',
    urls: [broker.url],
    brokers: [broker],
    redis: null,
    failDisk: (fault) => setDiskFault(faultFile, fault),
    censusOf: (dir) => copyOf(broker, dir),
    async leftovers() {
      await broker.terminate();
      return rowsLeft(join(root, 'tasks.db'));
    },
    async stop() {
      await broker.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A copy of its file, which the broker has locked. */
async function copyOf(broker: BrokerProcess, dir: string): Promise<StoreConfig> {
  const path = join(dir, 'at-rest.db');
  await backup(broker.url, path);
  return { driver: 'sqlite', path, durability: 'normal' };
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
