import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { admin } from '../../support/redis-admin.ts';
import { startRedis } from '../../support/redis-server.ts';
import { repair } from './append-only-file.ts';

const command = (...words: string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;

test('a gap in the first of two append-only files is cut off with all that comes after it', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'lessor-aof-'));
  const files = join(dir, 'appendonlydir');
  const manifest = join(files, 'appendonly.aof.manifest');
  mkdirSync(files);
  const lines = [1, 2].map((number) => `file appendonly.aof.${number}.incr.aof seq ${number} type i\n`);
  writeFileSync(manifest, lines.join(''));
  const first = command('SELECT', '0') + command('SET', 'whole', '1') + command('SET', 'gone', '1');
  writeFileSync(join(files, 'appendonly.aof.1.incr.aof'), first.slice(0, -12) + '\0'.repeat(12));
  writeFileSync(join(files, 'appendonly.aof.2.incr.aof'), command('SELECT', '0') + command('SET', 'later', '1'));
  try {
    assert.equal(repair(manifest), true);
    const server = await startRedis({ args: ['--dir', dir, '--appendonly', 'yes'] });
    try {
      assert.deepEqual(await admin(server.port, (redis) => redis.keys('*')), ['whole']);
    } finally {
      await server.stop();
    }
    assert.equal(repair(manifest), false);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
