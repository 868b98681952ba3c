import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { recorderEnv } from '../disk/recorder.ts';
import { BrokerProcess, SOURCE } from '../homes/broker-process.ts';
import type { DiskEvent } from '../disk/recording.ts';
import { checkedRecording, type Home } from './home.ts';
import { inspect } from './inspection.ts';
import { runLoad } from './load.ts';

const DATABASE = 'lessor.db';

/** A database file that the broker holds itself. */
export function embeddedHome(durability: 'full' | 'normal'): Home {
  const env = (root: string) => ({
    LESSOR_STORE: `sqlite:${join(root, DATABASE)}`,
    LESSOR_DURABILITY: durability,
  });
  return {
    name: `embedded, ${durability}`,
    keepsAll: durability === 'full',
    hasChecksums: true,
    startsUnmade: true,

    async record(folder, load) {
      const root = join(folder, 'data');
      const log = join(folder, 'log');
      mkdirSync(root);
      const broker = await BrokerProcess.start({
        ...{ name: 'recorded', code: SOURCE },
        env: { ...env(root), ...recorderEnv({ root, log, replies: true }) },
      });
      try {
        const account = await runLoad({ ...load, url: broker.url });
        await broker.terminate();
        const events = checkedRecording(log, root);
        return { events, account, compactions: compactions(events) };
      } finally {
        await broker.stop();
      }
    },

    async revive(folder) {
      const found = await inspect(env(folder));
      const db = new DatabaseSync(join(folder, DATABASE));
      const [result] = db.prepare('PRAGMA integrity_check').all();
      db.close();
      assert.deepEqual({ ...result }, { integrity_check: 'ok' });
      return { found, repaired: false };
    },
  };
}

/** Pages go from the log to the database, which is synced, during the load. */
function compactions(events: readonly DiskEvent[]): number {
  const firstReply = events.findIndex(({ kind }) => kind === 'reply');
  return events.slice(firstReply).filter((event) => event.kind === 'sync-end' && event.path === DATABASE).length;
}
