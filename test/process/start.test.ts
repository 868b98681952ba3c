import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until } from '../support/until.ts';
import { type LessorProcess, runLessor, startLessor, temporaryFolder } from './lessor-process.ts';

const manifest: { version: string } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

describe('a broker that has started', () => {
  const folder = temporaryFolder();
  let lessor: LessorProcess;

  before(async () => {
    lessor = await startLessor({ dir: folder.dir });
  });

  after(async () => {
    await lessor.stop();
    folder.remove();
  });

  it('shows version, API, docs, storage with its effective durability, and auth', () => {
    const banner = lessor.stderr;
    assert.ok(banner.includes(`Lessor ${manifest.version}\n`));
    assert.match(banner, /API +http:\/\/127\.0\.0\.1:\d+\n/);
    assert.ok(banner.includes(`${lessor.url}/docs\n`));
    assert.match(banner, /Storage +SQLite .*lessor\.db\n/);
    assert.match(banner, /durability full: /);
    assert.match(banner, /Auth +off; only this machine can connect\n/);
  });

  it('prints three curl lines that enqueue, lease and acknowledge when they are pasted', () => {
    const lines = lessor.stderr.split('\n').filter((line) => line.includes('curl '));
    assert.equal(lines.length, 3);
    for (const shell of ['bash', 'sh']) {
      // Each reply is made to end with a line break, as a person's prompt would.
      const output = execFileSync(shell, ['-c', lines.join('\necho\n')], { encoding: 'utf8' });
      const [enqueued = {}, lease = {}, acked = {}] = output
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line));
      assert.equal(enqueued.state, 'ready');
      assert.equal(lease.tasks.length, 1);
      assert.equal(lease.tasks[0].id, enqueued.id);
      assert.deepEqual(lease.tasks[0].payload, { name: 'Ada' });
      assert.equal(acked.id, enqueued.id);
      assert.equal(acked.state, 'completed');
    }
  });

  it('logs JSON lines on stdout and nothing else', async () => {
    await until(() => lessor.stdout.includes('\n'), { what: 'the first log line' });
    const lines = lessor.stdout.split('\n').filter((line) => line !== '');
    for (const line of lines) assert.equal(typeof JSON.parse(line).level, 'string');
  });

  it('serves the pages that the banner names', async () => {
    for (const path of ['/docs', '/openapi.json', '/readyz', '/livez']) {
      const reply = await fetch(lessor.url + path);
      assert.equal(reply.status, 200, path);
      await reply.arrayBuffer();
    }
  });
});

describe('starting', () => {
  it('warns in the banner when other machines can connect, and shows an address that works', async () => {
    const folder = temporaryFolder();
    const args = ['--host', '0.0.0.0', '--insecure', '--store', 'sqlite::memory:'];
    const lessor = await startLessor({ dir: folder.dir, args });
    assert.match(lessor.stderr, /Auth +OFF, and other machines can connect/);
    assert.match(lessor.stderr, /durability none: /);
    assert.match(lessor.url, /^http:\/\/127\.0\.0\.1:/);
    assert.equal((await fetch(`${lessor.url}/readyz`)).status, 200);
    await lessor.stop();
    folder.remove();
  });

  it('reads lessor.json in the working directory', async () => {
    const folder = temporaryFolder();
    writeFileSync(
      join(folder.dir, 'lessor.json'),
      '{"durability": "normal", "logLevel": "silent", "store": "sqlite:x.db"}',
    );
    const lessor = await startLessor({ dir: folder.dir });
    assert.match(lessor.stderr, /durability normal: /);
    const { stdout, code } = await lessor.stop();
    assert.equal(stdout, '');
    assert.equal(code, 0);
    folder.remove();
  });

  it('answers --help and --version on stdout and starts nothing', async () => {
    const folder = temporaryFolder();
    const help = await runLessor({ dir: folder.dir, args: ['--help'] });
    assert.equal(help.code, 0);
    assert.match(help.stdout, /LESSOR_SHUTDOWN_MS/);
    assert.equal(help.stderr, '');
    const version = await runLessor({ dir: folder.dir, args: ['--version'] });
    assert.deepEqual(version, { code: 0, signal: null, stdout: `${manifest.version}\n`, stderr: '' });
    folder.remove();
  });

  it('goes on when nobody reads its output any more, and still stops in an orderly way', async () => {
    const folder = temporaryFolder();
    const lessor = await startLessor({ dir: folder.dir, env: { LESSOR_LOG_LEVEL: 'debug' } });
    lessor.stopReading();
    for (let i = 0; i < 20; i++) assert.equal((await fetch(`${lessor.url}/readyz`)).status, 200);
    const { code } = await lessor.stop();
    assert.equal(code, 0);
    folder.remove();
  });

  it('ends at once and quietly when it is told to stop before it listens', async () => {
    const folder = temporaryFolder();
    const silent = createServer();
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = silent.address();
    assert.ok(address !== null && typeof address === 'object');
    const env = { LESSOR_STORE: `redis://127.0.0.1:${address.port}`, LESSOR_LOG_LEVEL: 'silent' };
    const ended = await runLessor({ dir: folder.dir, env }, async (signal) => {
      await once(silent, 'connection');
      signal('SIGTERM');
    });
    assert.deepEqual(ended, { code: 0, signal: null, stdout: '', stderr: '' });
    silent.close();
    folder.remove();
  });

  it('ends with code 1, a fatal log line and one line on stderr when it has a fault of its own', async () => {
    for (const fault of ["throw new Error('boom')", "Promise.reject(new Error('boom'))"]) {
      const folder = temporaryFolder();
      const nodeArgs = [`--import=data:text/javascript,process.on('SIGUSR2',()=>{${fault}})`];
      const lessor = await startLessor({ dir: folder.dir, nodeArgs });
      lessor.signal('SIGUSR2');
      const { code, stdout, stderr } = await lessor.ended;
      assert.equal(code, 1);
      assert.match(stderr, /\nlessor: stopped by a fault of its own \(boom\); the log has more\n$/);
      const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
      assert.equal(last.level, 'fatal');
      assert.equal(last.err.message, 'boom');
      assert.match(last.msg, /whatever supervises it should start it again/);
      folder.remove();
    }
  });
});
