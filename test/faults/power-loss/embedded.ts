import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { startLessor } from '../../process/lessor-process.ts';
import { recorderEnv } from '../disk/recorder.ts';
import { checkedRecording, type Home } from './home.ts';
import { inspect } from './inspection.ts';
import { runLoad } from './load.ts';

/** A database file that the broker holds itself. */
export function embeddedHome(durability: 'full' | 'normal'): Home {
  const env = (root: string) => ({
    LESSOR_STORE: `sqlite:${join(root, 'lessor.db')}`,
    LESSOR_DURABILITY: durability,
  });
  return {
    name: `embedded, ${durability}`,
    keepsAll: durability === 'full',
    hasChecksums: true,

    async record(folder, load) {
      const root = join(folder, 'data');
      const log = join(folder, 'log');
      mkdirSync(root);
      const lessor = await startLessor({
        dir: folder,
        env: { ...env(root), LESSOR_LOG_LEVEL: 'error', ...recorderEnv({ root, log, replies: true }) },
      });
      const account = await runLoad({ ...load, url: lessor.url });
      await lessor.stop();
      const events = checkedRecording(log, root);
      const moved = (event: (typeof events)[number]) => event.kind === 'sync-end' && event.path === 'lessor.db';
      const firstReply = events.findIndex(({ kind }) => kind === 'reply');
      return { events, account, compactions: events.slice(firstReply).filter(moved).length };
    },

    async revive(folder) {
      const found = await inspect(env(folder));
      const db = new DatabaseSync(join(folder, 'lessor.db'));
      const [result] = db.prepare('PRAGMA integrity_check').all();
      db.close();
      assert.deepEqual({ ...result }, { integrity_check: 'ok' });
      return { found, repaired: false };
    },
  };
}
