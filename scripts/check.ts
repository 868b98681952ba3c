/** npm run check [-- NAME…]: everything that needs no running, each by its name; all, or those named. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { forbiddenNames } from './file-names.ts';
import { ROOT, run } from './tools.ts';

interface Outcome {
  code: number;
  output: string;
}

const CHECKS: Record<string, () => Outcome> = {
  format: () => run('biome', ['format', '--reporter=summary']),
  lint: () => run('oxlint', []),
  names: checkNames,
  types: () => run('tsc', ['-p', '.']),
  unused: () => run('knip', ['--no-progress']),
  openapi: checkOpenapi,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in CHECKS));
if (unknown.length > 0) {
  console.error(`No such check: ${unknown.join(', ')}. There are ${Object.keys(CHECKS).join(', ')}.`);
  process.exit(1);
}

let failed = 0;
for (const [name, check] of Object.entries(CHECKS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const start = performance.now();
  const { code, output } = check();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
  if (code !== 0) {
    failed++;
    console.log(output);
  }
}
process.exit(failed > 0 ? 1 : 0);

function checkNames(): Outcome {
  const names = forbiddenNames(ROOT);
  return {
    code: names.length,
    output: names.map((name) => `${name}: name the file for the one thing it holds.`).join('\n'),
  };
}

/** Generates the document and compares; the file is left as it was. */
function checkOpenapi(): Outcome {
  const file = join(ROOT, 'openapi/openapi.json');
  const before = readFileSync(file, 'utf8');
  const generated = run(process.execPath, ['scripts/openapi.ts']);
  const after = readFileSync(file, 'utf8');
  writeFileSync(file, before);
  if (generated.code !== 0) return generated;
  return before === after
    ? generated
    : { code: 1, output: 'openapi/openapi.json is not what the code says: run "npm run openapi".' };
}
