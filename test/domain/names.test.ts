import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NAME_PATTERN } from '../../src/domain/names.ts';

describe('names of queues and types', () => {
  for (const name of ['a', 'A', '0', 'emails', 'a.b', 'a_b', 'a:b', 'a-b', 'Z9.-_:', `a${'b'.repeat(127)}`]) {
    it(`may be ${JSON.stringify(name.slice(0, 20))}`, () => assert.match(name, NAME_PATTERN));
  }

  for (const name of [
    ...['', '.a', '-a', '_a', ':a', 'a b', ' a', 'a ', 'a/b', 'a\n', '\na', 'a\u0000', 'ä', 'a*', '{a}', 'a%20b'],
    ...[`a${'b'.repeat(128)}`, '..', '\u{1F600}'],
  ]) {
    it(`may not be ${JSON.stringify(name.slice(0, 20))}`, () => assert.doesNotMatch(name, NAME_PATTERN));
  }
});
