import assert from 'node:assert/strict';
import { copyFileSync, cpSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type LessorProcess, startLessor } from '../process/lessor-process.ts';
import { dose } from '../support/dose.ts';
import { startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type ExampleProcess, startExample } from './example-process.ts';

const NODE_MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));
const MAX_FILE_BYTES = 1_000_000;
/** Short, so that what the killed worker holds comes back soon. */
const LEASE_MS = 1500;
const WORKERS = ['checksums/worker.sh', 'checksums/worker.py', 'checksums/worker.mjs'];

/** Names that a careless worker trips over; the last is no UTF-8. */
const HOSTILE_NAMES = [
  'with space',
  ' leading and trailing ',
  '"double" \'single\' `back`',
  'new\nline',
  'newline at the end\n',
  'back\\slash \\n',
  'größe 日本語 😀',
  '-n',
  '$(reboot) $HOME *?[a]',
  '","id":"x","token":"y',
  'tab\tand\u0001control',
  Buffer.from([0x6c, 0xff, 0xfe, 0x6c]),
];

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'lessor-checksums-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Copies what is in `node_modules`; in the small dose only some of it. */
function copyModules(to: string): void {
  let left = dose(1500, Number.POSITIVE_INFINITY);
  const filter = (path: string): boolean => {
    const file = lstatSync(path);
    if (path.endsWith('.cache') || file.size >= MAX_FILE_BYTES) return false;
    return file.isDirectory() || left-- > 0;
  };
  cpSync(NODE_MODULES, to, { recursive: true, verbatimSymlinks: true, filter });
}

function writeHostileFiles(dir: string): void {
  mkdirSync(dir, { recursive: true });
  for (const name of HOSTILE_NAMES) {
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name)]), `content of ${name.toString()}`);
  }
}

async function json(url: string): Promise<Record<string, unknown>> {
  const response = await fetch(url);
  assert.equal(response.status, 200, url);
  return (await response.json()) as Record<string, unknown>;
}

async function ends(example: ExampleProcess): Promise<string> {
  const { code, signal, output } = await example.ended;
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, output);
  return output;
}

/** Numbers of tasks of the queue by state. */
async function stats(url: string): Promise<Record<string, number>> {
  return (await json(`${url}/queues/checksums/stats`)) as Record<string, number>;
}

async function post(url: string, dir: string, leaseMs = 60_000): Promise<number> {
  const output = await ends(startExample('checksums/producer.py', url, [dir], { LEASE_MS: String(leaseMs) }));
  return Number(/^posted (\d+) tasks$/m.exec(output)?.[1]);
}

async function write(url: string): Promise<void> {
  const body = JSON.stringify({ queue: 'another' });
  const response = await fetch(`${url}/tasks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  assert.equal(response.status, 201);
}

interface LeasedTask {
  id: string;
  lease: { workerId: string };
}

/** Ends a worker by SIGKILL at a moment at which it holds tasks. @returns their ids */
async function killWhileItHoldsTasks(victim: ExampleProcess, url: string): Promise<string[]> {
  return until(
    async () => {
      // Stopped, it sends nothing more. What it had sent is done once two writes after it are done: the broker has
      // received it before the second one.
      victim.signal('SIGSTOP');
      await write(url);
      await write(url);
      const { tasks } = await json(`${url}/tasks?queue=checksums&state=leased&limit=1000`);
      const held = (tasks as LeasedTask[]).filter(({ lease }) => lease.workerId.endsWith(`-${victim.pid}`));
      victim.signal(held.length > 0 ? 'SIGKILL' : 'SIGCONT');
      return held.length > 0 ? held.map(({ id }) => id) : null;
    },
    { what: 'the worker holds tasks', timeoutMs: 30_000 },
  );
}

describe('the checksums example', () => {
  for (const store of ['SQLite', 'Redis with an append-only file'] as const) {
    test(`every file has its checksum although a worker and the broker are killed: ${store}`, async (t) => {
      const dir = folder(t);
      const files = join(dir, 'files');
      copyModules(files);
      writeHostileFiles(join(files, 'hostile'));

      let storeUrl = `sqlite:${dir}/lessor.db`;
      if (store !== 'SQLite') {
        const redis = await startRedis({ appendonly: true });
        t.after(() => redis.stop());
        storeUrl = redis.url;
      }
      const env = { LESSOR_STORE: storeUrl, LESSOR_LOG_LEVEL: 'warn' };
      let broker: LessorProcess = await startLessor({ dir, env });
      t.after(() => broker.stop());
      const { url } = broker;

      const posted = await post(url, files, LEASE_MS);
      assert.ok(posted > 1000, `only ${posted} files`);
      assert.equal(await post(url, files, LEASE_MS), posted);
      assert.equal((await stats(url))['ready'], posted, 'posting again posts nothing twice');

      const victim = startExample('checksums/worker.mjs', url, ['--drain']);
      t.after(() => victim.signal('SIGKILL'));
      await until(async () => (await stats(url))['completed'], { what: 'it works', timeoutMs: 30_000 });
      const workers = WORKERS.map((file) => startExample(file, url, ['--drain']));
      // They would try for ever to reach a broker that a failed test has stopped.
      t.after(() => {
        for (const worker of workers) worker.signal('SIGKILL');
      });
      const completed = async (share: number): Promise<boolean> =>
        ((await stats(url))['completed'] ?? 0) > share * posted;

      await until(() => completed(0.1), { what: 'a tenth is done', timeoutMs: 30_000 });
      const held = await killWhileItHoldsTasks(victim, url);

      await until(() => completed(0.5), { what: 'a half is done', timeoutMs: 30_000 });
      broker.signal('SIGKILL');
      await broker.ended;
      broker = await startLessor({ dir, env: { ...env, LESSOR_PORT: String(broker.port) } });

      for (const worker of workers) assert.equal(await ends(worker), '', 'no task was dropped');
      assert.equal(
        await ends(startExample('checksums/verify.py', url, [files])),
        `files=${posted} equal=${posted} different=0 missing=0 unexpected=0\n`,
      );
      for (const id of held) {
        const task = await json(`${url}/tasks/${id}`);
        assert.ok(Number(task['deliveries']) > 1, 'a task of the killed worker was granted again');
      }
    });
  }

  for (const worker of WORKERS) {
    test(`${worker} copes with any file name, and gives up on what it cannot read`, async (t) => {
      const dir = folder(t);
      const files = join(dir, 'files');
      writeHostileFiles(files);
      writeFileSync(join(files, 'soon gone'), '');
      const broker = await startLessor({ dir, env: { LESSOR_STORE: 'sqlite::memory:' } });
      t.after(() => broker.stop());
      await post(broker.url, files);
      const change = { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"maxAttempts":1}' };
      assert.equal((await fetch(`${broker.url}/queues/checksums`, change)).status, 200);
      rmSync(join(files, 'soon gone'));

      await ends(startExample(worker, broker.url, ['--drain']));

      const { dead } = await stats(broker.url);
      assert.equal(dead, 1);
      const count = HOSTILE_NAMES.length;
      assert.equal(
        await ends(startExample('checksums/verify.py', broker.url, [files])),
        `files=${count} equal=${count} different=0 missing=0 unexpected=0\n`,
      );
    });

    test(`${worker} ends at SIGTERM: at once while it waits, after the file in hand while it works`, async (t) => {
      const dir = folder(t);
      const broker = await startLessor({ dir, env: { LESSOR_STORE: 'sqlite::memory:' } });
      t.after(() => broker.stop());

      const idle = startExample(worker, broker.url);
      await until(async () => (await stats(broker.url))['waiters'] === 1, { what: 'it waits' });
      idle.signal('SIGTERM');
      await ends(idle);

      const files = join(dir, 'files');
      mkdirSync(files);
      for (let i = 0; i < 2000; i++) writeFileSync(join(files, String(i)), String(i));
      await post(broker.url, files);
      const busy = startExample(worker, broker.url);
      await until(async () => (await stats(broker.url))['completed'], { what: 'it works' });
      busy.signal('SIGTERM');
      await ends(busy);
      await until(async () => (await stats(broker.url))['leased'] === 0, {
        what: 'all it held is settled or released',
      });
      assert.ok(Number((await stats(broker.url))['ready']) > 0, 'it left something to do');
    });
  }

  test('verify finds a file that changed, one without a task and one that is gone', async (t) => {
    const dir = folder(t);
    const files = join(dir, 'files');
    mkdirSync(files);
    for (const name of ['same', 'changed', 'gone']) writeFileSync(join(files, name), name);
    const broker = await startLessor({ dir, env: { LESSOR_STORE: 'sqlite::memory:' } });
    t.after(() => broker.stop());
    await post(broker.url, files);
    await ends(startExample('checksums/worker.mjs', broker.url, ['--drain']));
    writeFileSync(join(files, 'changed'), 'otherwise');
    rmSync(join(files, 'gone'));
    copyFileSync(join(files, 'same'), join(files, 'new'));

    const { code, output } = await startExample('checksums/verify.py', broker.url, [files]).ended;

    assert.equal(code, 1);
    assert.match(output, /^files=3 equal=1 different=1 missing=1 unexpected=1$/m);
  });
});
