import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { readResults, WHOLE_RUN } from '../../bench/results.ts';
import { markdown } from '../../bench/table.ts';
import { README, withParts } from '../../scripts/readme-parts.ts';
import { ROOT } from '../../scripts/tools.ts';
import { startLessor, temporaryFolder } from '../process/lessor-process.ts';

const readme = readFileSync(README, 'utf8');

describe('the README', () => {
  test('shows the workers, settings and figures that there are (npm run readme writes them anew)', () => {
    assert.equal(withParts(readme), readme);
  });

  test('has a place for the figures, and shows none that were not measured', () => {
    const [, table = ''] = /<!-- bench:begin -->\n([^]*)<!-- bench:end -->/.exec(readme) ?? [];
    const results = readResults(WHOLE_RUN);
    assert.equal(table, results === null ? '' : `${markdown(results)}\n`);
  });

  test('links to files that exist', () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, target]) => target ?? '');
    assert.ok(links.length > 5);
    for (const target of links) assert.ok(existsSync(join(ROOT, target)), target);
  });

  test('starts and tests with scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const named = [...readme.matchAll(/npm (?:run )?([a-z:]+)(?=[\s`])/g)].map(([, name]) => name ?? '');
    for (const name of named.filter((script) => script !== 'ci' && script !== 'is')) assert.ok(name in scripts, name);
  });

  test('has curl lines that work', async (t) => {
    const folder = temporaryFolder();
    t.after(() => folder.remove());
    const broker = await startLessor({
      dir: folder.dir,
      env: { LESSOR_STORE: 'sqlite::memory:', LESSOR_LOG_LEVEL: 'warn' },
    });
    t.after(() => broker.stop());
    const lines = [...readme.matchAll(/^curl .*$/gm)].map(([line]) => line);
    const replies = lines.map((line) => {
      const here = line.replace('http://127.0.0.1:7420', broker.url);
      return JSON.parse(execFileSync('bash', ['-c', here], { encoding: 'utf8' }));
    });
    const [task, queue] = replies;
    assert.deepEqual([replies.length, task.queue, task.state, queue.name], [2, 'emails', 'ready', 'emails']);
    assert.deepEqual([queue.config.maxConcurrency, queue.config.rateLimit], [20, { limit: 100, periodMs: 1000 }]);
  });
});
