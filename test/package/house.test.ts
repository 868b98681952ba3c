import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { forbiddenNames } from '../../scripts/file-names.ts';
import { ROOT, run } from '../../scripts/tools.ts';

/** A file that breaks one rule of the house, and what the linter has to say to whoever writes it. */
interface Offence {
  rule: string;
  file: string;
  source: string;
  says: RegExp;
}

const offence = (rule: string, file: string, source: string, says: RegExp): Offence => ({ rule, file, source, says });

const OF_MAIN = "import { createRequire } from 'node:module';\nimport '../routes/index.ts';\ncreateRequire('/');";

const OFFENCES: Offence[] = [
  offence('domain imports no package', 'src/domain/a.ts', "import 'zod';", /domain is pure/),
  offence('domain imports no Node module', 'src/domain/b.ts', "import 'node:crypto';", /domain is pure/),
  offence(
    'domain imports nothing from other rooms',
    'src/domain/c.ts',
    "import '../store/store.ts';",
    /domain is pure/,
  ),
  offence('domain is pure in dynamic imports too', 'src/domain/d.ts', "await import('../x.ts');", /domain is pure/),
  offence('domain re-exports nothing', 'src/domain/e.ts', "export * from '../x.ts';", /domain is pure/),
  offence('the port imports the domain only', 'src/store/store.ts', "import '../broker/x.ts';", /port speaks/),
  offence('SQLite driver knows no broker', 'src/store/sqlite/a.ts', "import '../../broker/x.ts';", /driver imports/),
  offence('SQLite driver knows no HTTP', 'src/store/sqlite/b.ts', "import 'fastify';", /driver imports/),
  offence('SQLite driver knows no Redis', 'src/store/sqlite/c.ts', "import 'ioredis';", /Only src\/store\/redis/),
  offence(
    'SQLite driver is no user of the other',
    'src/store/sqlite/d.ts',
    "import '../redis/x.ts';",
    /driver imports/,
  ),
  offence('Redis driver knows no broker', 'src/store/redis/a.ts', "import '../../broker/x.ts';", /driver imports/),
  offence('Redis driver knows no SQLite', 'src/store/redis/b.ts', "import 'node:sqlite';", /Only src\/store\/sqlite/),
  offence('Redis driver is no user of the other', 'src/store/redis/c.ts', "import '../sqlite/x.ts';", /driver imports/),
  offence('broker knows no driver', 'src/broker/a.ts', "import '../store/redis/x.ts';", /broker imports/),
  offence(
    'broker knows no type of a driver',
    'src/broker/b.ts',
    "import type { X } from '../store/sqlite/x.ts';\nexport type Y = X;",
    /broker imports/,
  ),
  offence('census names no driver', 'src/store/census.ts', "import './redis/x.ts';", /port speaks of the domain/),
  offence('doctor knows no driver', 'src/doctor/a.ts', "import '../store/redis/x.ts';", /doctor knows the census/),
  offence('doctor needs no broker', 'src/doctor/b.ts', "import '../broker/x.ts';", /doctor knows the census/),
  offence('backup is a client', 'src/backup/a.ts', "import '../store/store.ts';", /client of the broker/),
  offence('broker knows no HTTP', 'src/broker/c.ts', "import 'fastify';", /broker imports/),
  offence('broker opens no store', 'src/broker/d.ts', "import '../store/open-store.ts';", /broker imports/),
  offence(
    'routes know no driver',
    'routes/a.ts',
    "import '../src/store/sqlite/x.ts';",
    /Only src\/store\/open-store\.ts/,
  ),
  offence('routes know no Redis', 'routes/b.ts', "import 'ioredis';", /Only src\/store\/redis/),
  offence('routes know no app', 'routes/c.ts', "import '../src/app.ts';", /top of the house/),
  offence(
    'http imports no routes',
    'src/http/a.ts',
    "import '../../routes/index.ts';",
    /Only src\/app\.ts wires routes/,
  ),
  offence(
    'http imports no routes by import()',
    'src/http/b.ts',
    "await import('../../routes/index.ts');",
    /wires routes/,
  ),
  offence('main imports no routes', 'src/main.ts', OF_MAIN, /Only src\/app\.ts wires routes/),
  offence(
    'app opens stores through open-store',
    'src/app.ts',
    "import './store/redis/x.ts';",
    /Only src\/store\/open-store/,
  ),
  offence(
    'import() of types hides an import',
    'src/http/c.ts',
    "export type A = import('pino').Logger;",
    /import\(\).*type/i,
  ),
  offence('require hides an import', 'src/http/d.ts', "import 'node:module';", /require hides an import/),
  offence('main requires nothing either', 'src/main.ts', OF_MAIN, /require hides an import/),
  offence(
    'process belongs to main',
    'src/broker/e.ts',
    'export const a = process.pid;',
    /Only src\/main\.ts touches the process/,
  ),
  offence(
    'globalThis.process is process',
    'src/http/e.ts',
    'export const a = globalThis.process.pid;',
    /touches the process/,
  ),
  offence(
    'node:process is process',
    'routes/d.ts',
    "import { pid } from 'node:process';\nexport const a = pid;",
    /touches the process/,
  ),
  offence('no any', 'src/http/f.ts', 'export const a = (x: any): boolean => x === 1;', /Unexpected `?any/),
  offence('no any from a library', 'src/http/g.ts', "export const a: string = JSON.parse('1');", /Unsafe assignment/),
  offence('no floating promise', 'src/http/h.ts', 'Promise.resolve(1);', /Promises must be awaited/),
  offence(
    'no promise as a condition',
    'src/http/i.ts',
    'export const a = (x: Promise<void>): number => (x ? 1 : 2);',
    /conditional/,
  ),
  offence(
    'no non-null assertion',
    'src/http/j.ts',
    'export const a = (x: string | null): string => x!;',
    /non-null assertion/i,
  ),
  offence('no ts-ignore', 'src/http/k.ts', '// @ts-ignore\nexport const a: string = 1;', /ts-ignore/),
  offence('no console in the broker', 'src/http/l.ts', "console.log('x');", /console/),
  offence(
    'every case of a union',
    'src/http/m.ts',
    "export function a(x: 'p' | 'q'): number {\n  switch (x) {\n    case 'p':\n      return 1;\n  }\n  return 2;\n}",
    /exhaustive/,
  ),
  offence('kebab-case file names', 'src/http/fileName.ts', 'export const a = 1;', /kebab/i),
  offence('no utils', 'src/http/n.ts', "import './utils.ts';", /Name the file for the one thing it holds/),
  offence('no helpers', 'test/o.ts', "import './support/helpers.ts';", /Name the file for the one thing it holds/),
  offence('no common', 'src/http/p.ts', "import '../common/x.ts';", /Name the file for the one thing it holds/),
  offence(
    'no focused test',
    'test/a.test.ts',
    "import { test } from 'node:test';\ntest.only('x', () => {});",
    /focused test hides/,
  ),
  offence(
    'no skipped test',
    'test/b.test.ts',
    "import { it } from 'node:test';\nit.skip('x', () => {});",
    /does not run proves nothing/,
  ),
  offence(
    'no unused exemption',
    'src/http/q.ts',
    '// oxlint-disable-next-line no-console\nexport const a = 1;',
    /[Uu]nused.*directive/,
  ),
];

/** What the rules must leave alone: the imports the house is built on. */
const FINE: Record<string, string> = {
  'src/domain/fine.ts': "import './other.ts';",
  'src/store/open-store.ts': "import './sqlite/fine.ts';\nimport './redis/fine.ts';\nimport './store.ts';",
  'src/store/sqlite/fine.ts':
    "import 'node:sqlite';\nimport './x.ts';\nimport '../../domain/x.ts';\nimport '../store.ts';\nimport '../task-ids.ts';",
  'src/store/redis/fine.ts':
    "import 'ioredis';\nimport 'node:fs';\nimport '../../domain/x.ts';\nimport '../store.ts';\nimport '../task-ids.ts';",
  'src/doctor/fine.ts': "import './x.ts';\nimport '../store/census.ts';\nimport '../store/open-store.ts';",
  'src/backup/fine.ts': "import './x.ts';\nimport 'node:fs/promises';",
  'src/broker/fine.ts':
    "import 'node:crypto';\nimport './x.ts';\nimport '../domain/x.ts';\nimport '../store/store.ts';",
  'routes/fine.ts': "import 'zod';\nimport '../src/broker/x.ts';\nimport './schemas/x.ts';",
  'scripts/fine.ts': "import '../src/app.ts';\nimport '../routes/index.ts';\nconsole.log(process.pid);",
};

interface Diagnostic {
  message: string;
  help?: string;
  filename: string;
}

describe('the rules of the house', () => {
  let dir: string;
  let said: Map<string, string>;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'lessor-house-'));
    for (const name of ['.oxlintrc.json', 'tsconfig.json', 'package.json']) cpSync(join(ROOT, name), join(dir, name));
    symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
    const files = [...OFFENCES.map(({ file, source }) => [file, source] as const), ...Object.entries(FINE)];
    for (const [file, source] of files) {
      mkdirSync(dirname(join(dir, file)), { recursive: true });
      writeFileSync(join(dir, file), `${source}\nexport {};\n`);
    }
    said = new Map();
    const { diagnostics } = JSON.parse(
      run('oxlint', ['-f', 'json', 'src', 'routes', 'test', 'scripts'], { cwd: dir }).output,
    ) as {
      diagnostics: Diagnostic[];
    };
    for (const { filename, message, help } of diagnostics) {
      said.set(filename, `${said.get(filename) ?? ''}${message} ${help ?? ''}\n`);
    }
  });

  after(() => rmSync(dir, { recursive: true, force: true }));

  for (const { rule, file, says } of OFFENCES) {
    test(`the linter enforces: ${rule}`, () => assert.match(said.get(file) ?? 'nothing', says));
  }

  test('the linter allows what the house is built on', () => {
    for (const file of Object.keys(FINE)) assert.doesNotMatch(said.get(file) ?? '', /restricted|Unexpected/, file);
  });

  test('a file or folder called utils, helpers or common is found wherever it lies', () => {
    for (const name of ['src/http/utils.ts', 'test/support/helpers/x.ts', 'routes/common.ts', 'src/fine/commons.ts']) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), '');
    }
    assert.deepEqual(forbiddenNames(dir), ['routes/common.ts', 'src/http/utils.ts', 'test/support/helpers']);
  });
});
