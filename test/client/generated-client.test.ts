import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { ROOT, run } from '../../scripts/tools.ts';
import { startLessor } from '../process/lessor-process.ts';

/** Of `complete-one-task.ts`, once compiled. */
interface GeneratedClient {
  completeOneTask(baseUrl: string): Promise<{ id: string; state: string; result: unknown }>;
}

describe('a client generated from the OpenAPI document', () => {
  let dir: string;
  const npm = (...args: string[]): void => {
    const { code, output } = run('npm', args, { cwd: dir });
    assert.equal(code, 0, output);
  };

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'lessor-client-'));
    cpSync(join(ROOT, 'test/client/project'), dir, { recursive: true });
    cpSync(join(ROOT, 'openapi/openapi.json'), join(dir, 'openapi.json'));
    npm('ci', '--ignore-scripts', '--prefer-offline', '--no-audit');
  });

  after(() => rmSync(dir, { recursive: true, force: true }));

  test('the document is valid OpenAPI 3.1 for a validator of another project', () => {
    npm('run', 'validate');
  });

  test('the client compiles, and completes a task', async () => {
    npm('run', 'generate');
    npm('run', 'build');
    const compiled = pathToFileURL(join(dir, 'dist/complete-one-task.js')).href;
    const client = (await import(compiled)) as GeneratedClient;
    const broker = await startLessor({ dir, env: { LESSOR_STORE: 'sqlite::memory:', LESSOR_LOG_LEVEL: 'warn' } });
    try {
      const { id, state, result } = await client.completeOneTask(broker.url);
      assert.match(id, /^\w+$/);
      assert.deepEqual({ state, result }, { state: 'completed', result: { greeting: 'Hello, Ada' } });
    } finally {
      await broker.stop();
    }
  });
});
