import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { ROOT, run } from '../../scripts/tools.ts';
import { until } from '../support/until.ts';

/** As on a machine that knows nothing of the project: its tools are found by npm alone. */
const env: NodeJS.ProcessEnv = {
  HOME: process.env['HOME'],
  PATH: (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'))
    .join(delimiter),
  LESSOR_PORT: '0',
  LESSOR_STORE: 'sqlite::memory:',
};

test("npm scripts run on the project's own Node, whatever the machine has", () => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    devDependencies: { node: string };
  };
  const { output } = run('npm', ['exec', '--call', 'node --version'], { env });
  assert.ok(output.split('\n').includes(`v${devDependencies.node}`), output);
});

test('npm start serves, and passes a SIGTERM on to the broker, which drains', async () => {
  const child = spawn('npm', ['start'], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  try {
    const [, url] = await until(() => /API +(http:\S+)/.exec(output), { timeoutMs: 20_000, what: 'it listens' });
    assert.equal((await fetch(`${url}/livez`)).status, 200);
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
  assert.match(output, /drained and stopped/);
});
