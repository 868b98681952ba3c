import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Redis } from 'ioredis';
import { startRedis } from '../../support/redis-server.ts';
import { until } from '../../support/until.ts';
import { recorderEnv } from '../disk/recorder.ts';
import type { DiskEvent } from '../disk/recording.ts';
import { BrokerProcess, SOURCE } from '../homes/broker-process.ts';
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
    startsUnmade: false,

    async record(folder, load) {
      const root = join(folder, 'data');
      const log = join(folder, 'log');
      mkdirSync(root);
      const redis = await startRedis({ args: args(root), env: recorderEnv({ root, log }) });
      const admin = new Redis(redis.url);
      let broker: BrokerProcess | null = null;
      try {
        broker = await BrokerProcess.start({
          ...{ name: 'recorded', code: SOURCE },
          env: { LESSOR_STORE: redis.url, LESSOR_SHARDS: SHARDS, ...recorderEnv({ log, replies: true }) },
        });
        const account = await runLoad({ ...load, url: broker.url, halfway: () => rewrite(admin) });
        await broker.terminate();
        await redis.stop();
        const events = checkedRecording(log, root);
        return { events, account, compactions: compactions(events) };
      } finally {
        admin.disconnect();
        await broker?.stop();
        await redis.stop();
      }
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
export function repair(manifest: string): boolean {
  if (spawnSync('redis-check-aof', [manifest]).status === 0) return false;
  const { status, stdout, stderr } = spawnSync('redis-check-aof', ['--fix', manifest], {
    input: 'y\n',
    encoding: 'utf8',
  });
  if (status !== 0 && !cutOff(manifest, stdout)) {
    throw new Error(`redis-check-aof could not mend the file:\n${stdout}${stderr}`);
  }
  return true;
}

/**
 * While the file is rewritten there are two of which the later one goes on where the other ends; a gap in the first the tool does not cut
 * off. So it is done by hand: the first one ends where it says, and the later one goes.
 * @returns whether this is what the tool has found
 */
function cutOff(manifest: string, said: string): boolean {
  const [, file, end] = /filename=(\S+incr\.aof), size=\d+, ok_up_to=(\d+)[^]*it is not the last file/.exec(said) ?? [];
  if (file === undefined || end === undefined) return false;
  truncateSync(join(dirname(manifest), file), Number(end));
  const lines = readFileSync(manifest, 'utf8').split('\n');
  const last = lines.findIndex((line) => line.startsWith(`file ${file} `));
  writeFileSync(manifest, lines.filter((line, at) => at <= last || !line.includes(' type i')).join('\n'));
  return spawnSync('redis-check-aof', [manifest]).status === 0;
}

/** Resolves when the append-only file has been rewritten. */
async function rewrite(admin: Redis): Promise<void> {
  await admin.bgrewriteaof();
  await until(
    async () => /aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0/.test(await admin.info('persistence')),
    {
      what: 'the append-only file is rewritten',
    },
  );
}

/** A rewritten file takes the place of the one before, during the load. */
function compactions(events: readonly DiskEvent[]): number {
  const firstReply = events.findIndex(({ kind }) => kind === 'reply');
  return events.slice(firstReply).filter((event) => event.kind === 'rename' && event.to === MANIFEST).length;
}
