import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ROUTES } from '../../routes/index.ts';
import { isProblemCode, PROBLEM_CODES, PROBLEMS } from '../../src/domain/problems.ts';
import { problemDocument } from '../../src/http/problem.ts';
import { problemPage } from '../../src/http/problem-page.ts';
import { refusalDetail } from '../../src/http/refusals.ts';

/** Codes of what is not served yet: the catalogue only ever grows, so they have their names already. */
const NOT_ANSWERED_YET = ['unauthenticated', 'forbidden'];

/** Answered wherever there is no operation to document it. */
const NOT_OF_AN_OPERATION = ['method_not_allowed'];

function sources(folder: string): string[] {
  const base = new URL(`../../${folder}/`, import.meta.url);
  return readdirSync(base, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(new URL(name, base), 'utf8'));
}

describe('the problem catalogue', () => {
  test('says of every code what it means and what to do', () => {
    for (const code of PROBLEM_CODES) {
      const { status, title, retryable, help } = PROBLEMS[code];
      assert.match(code, /^[a-z]+(_[a-z]+)*$/);
      assert.ok(status >= 400 && status < 600, code);
      assert.ok(title.length > 5 && help.length > 30 && help.endsWith('.'), code);
      assert.equal(retryable, status === 429 || status >= 500, `${code}: only 429 and 5xx may be tried again`);
    }
  });

  test('every code has a page with its title, status and words', () => {
    for (const code of PROBLEM_CODES) {
      const page = problemPage(code);
      const { title, status } = PROBLEMS[code];
      assert.ok(page.includes(`<h1>${title}</h1>`), code);
      assert.ok(page.includes(`HTTP status ${status}`), code);
      assert.doesNotMatch(page, /<script|style=/);
    }
  });

  test('a document has exactly the members of a problem', () => {
    for (const code of PROBLEM_CODES) {
      const { title, status, retryable } = PROBLEMS[code];
      assert.deepEqual(problemDocument(code, 'why', '/tasks/x'), {
        type: `/problems/${code}`,
        title,
        status,
        detail: 'why',
        instance: '/tasks/x',
        code,
        retryable,
      });
    }
  });

  test('a refusal says what it is about in one line, however long the name', () => {
    for (const code of PROBLEM_CODES) {
      const detail = refusalDetail(code, `${'x'.repeat(10_000)}\n"`);
      assert.ok(detail.length < 400 && !detail.includes('\n'), code);
    }
  });

  test('operations document every code that can be met, and no other', () => {
    const documented = new Set<string>(ROUTES.flatMap(([, , { spec }]) => [...spec.problems]));
    for (const code of ['malformed_request', 'validation_failed', 'internal_error']) documented.add(code);
    assert.deepEqual(
      PROBLEM_CODES.filter((code) => !documented.has(code)).sort(),
      [...NOT_ANSWERED_YET, ...NOT_OF_AN_OPERATION].sort(),
    );
  });

  test('the HTTP layer names no code that is not in the catalogue', () => {
    const named = [...sources('routes'), ...sources('src/http')].flatMap((source) =>
      [...source.matchAll(/(?:Problem|Refusal|problemDocument|refusedTask)\((?:reply, )?'([a-z_]+)'/g)].map(
        ([, code]) => code ?? '',
      ),
    );
    assert.ok(named.length > 10);
    for (const code of named) assert.ok(isProblemCode(code), code);
  });
});
