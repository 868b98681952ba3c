import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ROOT } from '../../scripts/tools.ts';
import { startLessor, temporaryFolder } from '../process/lessor-process.ts';
import { until } from '../support/until.ts';
import { startExample } from './example-process.ts';

const MAX_LINES = 15;

describe('the smallest worker', () => {
  for (const language of ['sh', 'py', 'mjs']) {
    test(`of ${language} has at most ${MAX_LINES} lines and completes tasks`, async (t) => {
      const file = `smallest/worker.${language}`;
      const lines = readFileSync(join(ROOT, 'examples', file), 'utf8')
        .trimEnd()
        .split('\n');
      assert.ok(lines.length <= MAX_LINES, `${lines.length} lines`);
      const folder = temporaryFolder();
      t.after(() => folder.remove());
      const broker = await startLessor({
        dir: folder.dir,
        env: { LESSOR_STORE: 'sqlite::memory:', LESSOR_LOG_LEVEL: 'warn' },
      });
      t.after(() => broker.stop());
      const worker = startExample(file, broker.url);
      t.after(() => worker.signal('SIGKILL'));

      // The payload has fields that are called like those of the task around it.
      const payloads = [{ to: 'ada@example.com' }, { id: 'x', lease: { token: 'y' } }, 'größe "quoted"'];
      for (const payload of payloads) {
        const body = JSON.stringify({ queue: 'emails', payload });
        const headers = { 'content-type': 'application/json' };
        const posted = await fetch(`${broker.url}/tasks`, { method: 'POST', headers, body });
        assert.equal(posted.status, 201);
        const { id } = (await posted.json()) as { id: string };
        const task = await until(
          async () => {
            const read = (await (await fetch(`${broker.url}/tasks/${id}`)).json()) as Record<string, unknown>;
            return read['state'] === 'completed' ? read : null;
          },
          { what: 'the worker has completed the task' },
        );
        assert.equal(task['result'], 'sent');
        assert.equal(task['attempt'], 1);
      }
    });
  }
});
