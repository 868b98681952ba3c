import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { dose } from '../support/dose.ts';
import { MixedLoad } from '../support/mixed-load.ts';
import { startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type Ended, type LessorProcess, runLessor, startLessor, temporaryFolder } from './lessor-process.ts';

describe('a backup of the embedded store', () => {
  const folder = temporaryFolder();
  let lessor: LessorProcess;

  before(async () => {
    lessor = await startLessor({ dir: folder.dir });
  });

  after(async () => {
    await lessor.stop();
    folder.remove();
  });

  const run = (...args: string[]): Promise<Ended> => runLessor({ dir: folder.dir, args });
  const data = (): string[] => readdirSync(join(folder.dir, 'data')).sort();

  it('is made while the broker runs: it holds all that was stored before it began, and is sound', async () => {
    const load = new MixedLoad(lessor.url, ['a', 'b']);
    load.start(6, 0);
    await until(() => load.stored.length > dose(300, 1000), { timeoutMs: 60_000 });
    const before = [...load.stored];
    const { code, stdout, stderr } = await run('backup', '--to', 'copy.db', '--from', lessor.url);
    await load.stop();
    assert.deepEqual([code, stderr], [0, '']);
    assert.ok(load.stored.length > before.length, 'others went on meanwhile');
    const path = join(folder.dir, 'copy.db');
    assert.match(stdout, new RegExp(`^copy\\.db: ${statSync(path).size} bytes`));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const db = new DatabaseSync(path);
    assert.deepEqual(Object.values(db.prepare('PRAGMA integrity_check').get() ?? {}), ['ok']);
    const held = new Set(
      db
        .prepare('SELECT id FROM tasks')
        .all()
        .map(({ id }) => String(id)),
    );
    db.close();
    assert.deepEqual(
      before.filter((id) => !held.has(id)),
      [],
    );
    const seen = await run('doctor', '--store', 'sqlite:copy.db');
    assert.deepEqual([seen.code, seen.stderr], [0, ''], seen.stdout);
    assert.match(seen.stdout, /Sound: nothing is wrong\./);
    assert.deepEqual(data(), ['lessor.db', 'lessor.db-wal'], 'nothing is left beside the file');
  });

  it('is not made over a file that is there', async () => {
    const { code, stderr } = await run('backup', '--to', 'copy.db', '--from', lessor.url);
    assert.equal(code, 1);
    assert.match(stderr, /^lessor: copy\.db is there already: name another file, or remove it\n$/);
  });

  it('leaves no file where no broker answers', async () => {
    const { code, stderr } = await run('backup', '--to', 'none.db', '--from', 'http://127.0.0.1:1');
    assert.equal(code, 1);
    assert.match(stderr, /^lessor: no backup from http:\/\/127\.0\.0\.1:1: .*; is the broker running there.*\n$/);
    assert.deepEqual(
      readdirSync(folder.dir).filter((name) => name.startsWith('none')),
      [],
    );
  });

  it('is made one at a time, and a client that goes leaves nothing behind', async () => {
    // More than what sockets take in.
    const tasks = Array.from({ length: 35 }, () => ({ queue: 'large', payload: 'x'.repeat(200_000) }));
    for (let part = 0; part < 4; part++) {
      const reply = await fetch(`${lessor.url}/tasks/batch`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ tasks }),
      });
      assert.equal(reply.status, 201);
      await reply.arrayBuffer();
    }
    const first = await new Promise<{ destroy: () => void }>((resolve, reject) => {
      request(`${lessor.url}/backup`, (reply) => resolve(reply))
        .on('error', reject)
        .end();
    });
    const second = await fetch(`${lessor.url}/backup`);
    assert.equal(second.status, 429);
    assert.equal(((await second.json()) as { code: string }).code, 'rate_limited');
    first.destroy();
    await until(async () => {
      const third = await fetch(`${lessor.url}/backup`);
      await third.arrayBuffer();
      return third.status === 200;
    });
    assert.equal((await fetch(`${lessor.url}/backup`, { method: 'HEAD' })).status, 405);
    assert.deepEqual(data(), ['lessor.db', 'lessor.db-wal']);
  });

  it('is restored by putting it in the place of the file', async () => {
    const stats = async (): Promise<unknown> => (await fetch(`${lessor.url}/queues/restored/stats`)).json();
    const enqueue = async (): Promise<string> => {
      const reply = await fetch(`${lessor.url}/tasks`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ queue: 'restored' }),
      });
      return ((await reply.json()) as { id: string }).id;
    };
    const kept = await enqueue();
    await run('backup', '--to', 'restore.db', '--from', lessor.url);
    const lost = await enqueue();
    await lessor.stop();
    rmSync(join(folder.dir, 'data/lessor.db-wal'), { force: true });
    copyFileSync(join(folder.dir, 'restore.db'), join(folder.dir, 'data/lessor.db'));
    lessor = await startLessor({ dir: folder.dir });
    assert.equal((await fetch(`${lessor.url}/tasks/${kept}`)).status, 200);
    assert.equal((await fetch(`${lessor.url}/tasks/${lost}`)).status, 404);
    assert.equal(((await stats()) as { ready: number }).ready, 1);
  });

  /** @returns whether the broker was told to stop before the copy was made */
  async function stoppedWhileCopying(): Promise<boolean> {
    const other = temporaryFolder();
    const broker = await startLessor({ dir: other.dir });
    try {
      const tasks = Array.from({ length: 35 }, () => ({ queue: 'large', payload: 'x'.repeat(200_000) }));
      for (let part = 0; part < 30; part++) {
        const reply = await fetch(`${broker.url}/tasks/batch`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ tasks }),
        });
        assert.equal(reply.status, 201);
        await reply.arrayBuffer();
      }
      const copy = join(other.dir, 'data/lessor.db-backup-in-progress');
      const asked = fetch(`${broker.url}/backup`);
      await until(async () => statSync(copy, { throwIfNoEntry: false })?.size, { what: 'the copy has begun' });
      broker.signal('SIGTERM');
      const reply = await asked;
      if (reply.status === 200) {
        await reply.arrayBuffer();
        return false;
      }
      assert.equal(reply.status, 503);
      assert.equal(((await reply.json()) as { code: string }).code, 'shutting_down');
      assert.equal((await broker.ended).code, 0);
      assert.deepEqual(readdirSync(join(other.dir, 'data')), ['lessor.db']);
      return true;
    } finally {
      await broker.stop();
      other.remove();
    }
  }

  it('is given up by a broker that is told to stop', async () => {
    let tries = 1;
    while (!(await stoppedWhileCopying())) assert.ok(tries++ < 5, 'the copy was always made before');
  });

  it('is Redis’ own business on Redis, which the problem says', async () => {
    const redis = await startRedis();
    const other = temporaryFolder();
    const broker = await startLessor({ dir: other.dir, env: { LESSOR_STORE: redis.url } });
    try {
      const reply = await fetch(`${broker.url}/backup`);
      assert.equal(reply.status, 404);
      const { code, detail } = (await reply.json()) as { code: string; detail: string };
      assert.equal(code, 'route_not_found');
      assert.match(detail, /BGSAVE/);
      const ended = await runLessor({ dir: other.dir, args: ['backup', '--to', 'x.db', '--from', broker.url] });
      assert.deepEqual([ended.code, existsSync(join(other.dir, 'x.db'))], [1, false]);
      assert.match(ended.stderr, /^lessor: the broker makes no backup \(404\): The store is Redis.*\n$/);
    } finally {
      await broker.stop();
      await redis.stop();
      other.remove();
    }
  });
});
