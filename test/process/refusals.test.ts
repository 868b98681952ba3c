import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { startRedis } from '../support/redis-server.ts';
import { type LessorOptions, runLessor, startLessor, temporaryFolder } from './lessor-process.ts';

describe('a start that is refused says why in one line and ends with code 1', () => {
  let folder: ReturnType<typeof temporaryFolder>;

  beforeEach(() => {
    folder = temporaryFolder();
  });

  afterEach(() => folder.remove());

  /** The one line, without the program's name. */
  async function refusal(options: Omit<LessorOptions, 'dir'>): Promise<string> {
    const { code, stderr } = await runLessor({ dir: folder.dir, ...options });
    assert.match(stderr, /^lessor: [^\n]+\n$/);
    assert.equal(code, 1);
    return stderr.slice('lessor: '.length).trimEnd();
  }

  async function listener(): Promise<{ server: Server; port: number }> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    return { server, port: address.port };
  }

  it('when the port is taken, and leaves no data behind', async () => {
    const { server, port } = await listener();
    assert.equal(
      await refusal({ args: ['--port', String(port)] }),
      `port ${port} on 127.0.0.1 is taken: stop what listens there, or choose another port with LESSOR_PORT or --port`,
    );
    assert.equal(existsSync(join(folder.dir, 'data')), false);
    server.close();
  });

  it('when the host is no address of this machine', async () => {
    assert.match(
      await refusal({ args: ['--host', '192.0.2.1', '--insecure', '--port', '7421'] }),
      /^192\.0\.2\.1 is no address of this machine: .*LESSOR_HOST/,
    );
    assert.match(await refusal({ args: ['--host', '192.0.2.1', '--insecure'] }), /^192\.0\.2\.1 is no address/);
  });

  it('when the host cannot be resolved', async () => {
    assert.match(
      await refusal({ args: ['--host', 'no-such-host.invalid', '--insecure'] }),
      /^the host name no-such-host\.invalid cannot be resolved/,
    );
  });

  it('when the configuration has a fault, with one line for each', async () => {
    const { code, stderr } = await runLessor({ dir: folder.dir, env: { LESSOR_PROT: '1', LESSOR_SHARDS: 'x' } });
    assert.equal(
      stderr,
      'lessor: LESSOR_PROT is not a setting; did you mean LESSOR_PORT?\n' +
        'lessor: LESSOR_SHARDS: "x" is not a whole number from 1 to 1024\n',
    );
    assert.equal(code, 1);
  });

  it('when another broker has the file open', async () => {
    const first = await startLessor({ dir: folder.dir });
    assert.match(await refusal({}), /lessor\.db/);
    assert.equal((await first.stop()).code, 0);
    const next = await startLessor({ dir: folder.dir });
    await next.stop();
  });

  it('when the file was made by a newer version', async () => {
    const lessor = await startLessor({ dir: folder.dir });
    await lessor.stop();
    const database = new DatabaseSync(join(folder.dir, 'data/lessor.db'));
    database.exec('PRAGMA user_version = 999');
    database.close();
    assert.match(await refusal({}), /newer/);
  });

  it('when the file is not a database', async () => {
    writeFileSync(join(folder.dir, 'x.db'), 'x'.repeat(10_000));
    assert.match(await refusal({ args: ['--store', 'sqlite:x.db'] }), /x\.db/);
  });

  it('when there can be no file at the path', async () => {
    writeFileSync(join(folder.dir, 'file'), '');
    assert.match(await refusal({ args: ['--store', 'sqlite:file/x.db'] }), /file\/x\.db|file/);
    assert.match(await refusal({ args: ['--store', 'sqlite:/proc/x.db'] }), /\/proc/);
  });

  it('when nothing listens where Redis should be, within 5 seconds and without its password', async () => {
    const { server, port } = await listener();
    server.close();
    await once(server, 'close');
    const start = performance.now();
    const line = await refusal({ env: { LESSOR_STORE: `redis://:hunter2@127.0.0.1:${port}` } });
    assert.ok(performance.now() - start < 5000);
    assert.ok(line.includes(`127.0.0.1:${port}`), line);
    assert.doesNotMatch(line, /hunter2/);
  });

  it('when what listens there never answers, within 10 seconds', async () => {
    const { server, port } = await listener();
    const start = performance.now();
    const line = await refusal({ env: { LESSOR_STORE: `redis://127.0.0.1:${port}` } });
    assert.ok(performance.now() - start < 10_000);
    assert.ok(line.includes(`127.0.0.1:${port}`), line);
    server.close();
  });

  it('when Redis would throw tasks away to free memory', async () => {
    const redis = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru'] });
    const line = await refusal({ env: { LESSOR_STORE: redis.url } });
    assert.match(line, /allkeys-lru/);
    assert.match(line, /noeviction/);
    await redis.stop();
  });

  it('when the data in Redis were made with another number of shards', async () => {
    const redis = await startRedis();
    const env = { LESSOR_STORE: redis.url, LESSOR_SHARDS: '4' };
    const lessor = await startLessor({ dir: folder.dir, env });
    await lessor.stop();
    const line = await refusal({ env: { ...env, LESSOR_SHARDS: '8' } });
    assert.match(line, /LESSOR_SHARDS/);
    assert.match(line, /4/);
    await redis.stop();
  });

  it('when Redis has no database of that number', async () => {
    const redis = await startRedis();
    assert.match(await refusal({ env: { LESSOR_STORE: `${redis.url}/99` } }), /DB index is out of range/);
    await redis.stop();
  });

  it('when Redis wants a password that was not given', async () => {
    const redis = await startRedis();
    const admin = new Redis(redis.url);
    await admin.config('SET', 'requirepass', 'hunter2');
    admin.disconnect();
    const line = await refusal({ env: { LESSOR_STORE: redis.url } });
    assert.match(line, /password|NOAUTH|user/i);
    assert.doesNotMatch(line, /hunter2/);
    const lessor = await startLessor({
      dir: folder.dir,
      env: { LESSOR_STORE: redis.url.replace('redis://', 'redis://:hunter2@') },
    });
    assert.doesNotMatch(lessor.stderr, /hunter2/);
    assert.doesNotMatch((await lessor.stop()).stdout, /hunter2/);
    await redis.stop();
  });
});
