import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ROOT, run, TOOL_ENV } from '../../scripts/tools.ts';
import { until } from '../support/until.ts';

const START_TIMEOUT_MS = 20_000;

/** What a checkout has that a package is made of. */
const SOURCES = [
  'src',
  'routes',
  'scripts',
  'openapi',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'LICENSE',
];

describe('the npm package', () => {
  let dir: string;
  let installed: string;
  let packed: string[];

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'lessor-package-'));
    const checkout = join(dir, 'checkout');
    installed = join(dir, 'installed');
    mkdirSync(checkout);
    mkdirSync(installed);
    for (const name of SOURCES) cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));

    const pack = run('npm', ['pack', '--json', '--silent', '--pack-destination', dir], { cwd: checkout });
    assert.equal(pack.code, 0, pack.output);
    packed = run('tar', ['-tzf', join(dir, tarball())])
      .output.trim()
      .split('\n');

    writeFileSync(join(installed, 'package.json'), '{"private":true}');
    const install = run('npm', ['install', '--prefer-offline', '--no-audit', join(dir, tarball())], { cwd: installed });
    assert.equal(install.code, 0, install.output);
  });

  after(() => rmSync(dir, { recursive: true, force: true }));

  test('it holds what runs, and nothing of the workshop', () => {
    const surprising = packed.filter(
      (name) => !/^package\/(dist\/(src|routes)\/.+\.(js|lua|sql)|openapi\/openapi\.json|[^/]+)$/.test(name),
    );
    assert.deepEqual(surprising, []);
    assert.ok(packed.includes('package/dist/src/main.js'));
    assert.ok(packed.includes('package/LICENSE'));
    for (const asset of assets()) assert.ok(packed.includes(`package/dist/${asset}`), asset);
  });

  test('npx lessor --version says the version of the package', () => {
    const { code, output } = run('npx', ['lessor', '--version'], { cwd: installed, env: environment() });
    assert.ok(output.split('\n').includes(version()), output);
    assert.equal(code, 0);
  });

  test('a start keeps what Node has compiled inside the installation, and does without where it cannot', () => {
    const kept = join(installed, 'node_modules/lessor/node_modules/.cache');
    const start = (): void => {
      const main = join(installed, 'node_modules/lessor/dist/src/main.js');
      assert.deepEqual(run(process.execPath, [main, '--version'], { cwd: dir, env: environment() }), {
        code: 0,
        output: `${version()}\n`,
      });
    };
    rmSync(kept, { recursive: true, force: true });
    start();
    const files = globSync('lessor/*/*', { cwd: kept }).map((name) => join(kept, name));
    assert.ok(files.length > 10);
    for (const file of files) writeFileSync(file, readFileSync(file).fill(0xff, 40));
    start();
    for (const file of files) writeFileSync(file, '');
    start();
    rmSync(kept, { recursive: true });
    writeFileSync(kept, 'in the way');
    start();
    rmSync(kept);
  });

  test('npx lessor serves a task', async () => {
    const child = spawn('npx', ['lessor', '--port=0', '--store=sqlite::memory:'], {
      cwd: installed,
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
      // A group of its own, to be ended as a Ctrl-C does: npx passes a signal to its shell alone.
      detached: true,
    });
    const ended = once(child, 'exit');
    try {
      let output = '';
      child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
      const [, url] = await until(() => /API +(http:\S+)/.exec(output), {
        timeoutMs: START_TIMEOUT_MS,
        what: 'it listens',
      });
      const json = { 'content-type': 'application/json' };
      const posted = await fetch(`${url}/tasks`, { method: 'POST', headers: json, body: '{"payload":"work"}' });
      assert.equal(posted.status, 201);
      const { id } = (await posted.json()) as { id: string };
      const leased = await fetch(`${url}/tasks/lease`);
      const { tasks } = (await leased.json()) as { tasks: { id: string; payload: string; lease: { token: string } }[] };
      assert.deepEqual(
        tasks.map((task) => [task.id, task.payload]),
        [[id, 'work']],
      );
      const body = JSON.stringify({ leaseToken: tasks[0]!.lease.token });
      const acked = await fetch(`${url}/tasks/${id}/ack`, { method: 'POST', headers: json, body });
      assert.equal(acked.status, 200);
    } finally {
      process.kill(-child.pid!, 'SIGINT');
      await ended;
    }
  });

  function tarball(): string {
    return `lessor-${version()}.tgz`;
  }
});

function version(): string {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

/** Files that are read at run time and are no code. */
function assets(): string[] {
  return globSync('{src,routes}/**/*.{lua,sql}', { cwd: ROOT });
}

/** A machine whose own Node is this one: npx runs the package by it. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: `${dirname(process.execPath)}:${TOOL_ENV['PATH']}`, HOME: process.env['HOME'] };
}
