import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startLessor } from '../../process/lessor-process.ts';
import { startRedis } from '../../support/redis-server.ts';
import { recorderEnv } from '../disk/recorder.ts';
import { checkedRecording, type Home } from './home.ts';
import { inspect } from './inspection.ts';
import { runLoad } from './load.ts';

const MANIFEST = 'appendonlydir/appendonly.aof.manifest';
/** Few, so that a start on a new server is short. */
const SHARDS = '4';

/** A Redis with an append-only file, which is rewritten in the midst of the load. */
export function appendOnlyHome(fsync: 'always' | 'everysec'): Home {
  const args = (folder: string) => ['--dir', folder, '--appendonly', 'yes', '--appendfsync', fsync];
  return {
    name: `Redis AOF, ${fsync}`,
    keepsAll: fsync === 'always',
    // The lengths of commands and arguments are checked, what is in them is not.
    hasChecksums: false,

    async record(folder, load) {
      const root = join(folder, 'data');
      const log = join(folder, 'log');
      mkdirSync(root);
      const redis = await startRedis({ args: args(root), env: recorderEnv({ root, log }) });
      const lessor = await startLessor({
        dir: folder,
        env: {
          ...{ LESSOR_STORE: redis.url, LESSOR_SHARDS: SHARDS, LESSOR_LOG_LEVEL: 'error' },
          ...recorderEnv({ log, replies: true }),
        },
      });
      const admin = new Redis(redis.url);
      const account = await runLoad({ ...load, url: lessor.url, halfway: () => admin.bgrewriteaof() });
      admin.disconnect();
      await lessor.stop();
      await redis.stop();
      const events = checkedRecording(log, root);
      const moved = (event: (typeof events)[number]) => event.kind === 'rename' && event.to === MANIFEST;
      const firstReply = events.findIndex(({ kind }) => kind === 'reply');
      return { events, account, compactions: events.slice(firstReply).filter(moved).length };
    },

    async revive(folder, torn) {
      // Redis starts with a file that ends in the middle of a command; a gap before that it leaves to its operator.
      const repaired = torn && existsSync(join(folder, MANIFEST)) && repair(join(folder, MANIFEST));
      const redis = await startRedis({ args: args(folder) });
      try {
        const found = await inspect({ LESSOR_STORE: redis.url, LESSOR_SHARDS: SHARDS });
        return { found, repaired };
      } finally {
        await redis.stop();
      }
    },
  };
}

/** As an operator would, with the tool of Redis. Answers whether there was anything to mend. */
function repair(manifest: string): boolean {
  if (spawnSync('redis-check-aof', [manifest]).status === 0) return false;
  const { status, stdout, stderr } = spawnSync('redis-check-aof', ['--fix', manifest], {
    input: 'y\n',
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`redis-check-aof could not mend the file:\n${stdout}${stderr}`);
  return true;
}
