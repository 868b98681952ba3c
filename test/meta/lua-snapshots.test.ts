import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadLibrary } from '../../src/store/redis/library.ts';

const SNAPSHOT = join(import.meta.dirname, 'lua/library.lua');
const FOLDER = join(import.meta.dirname, '../../src/store/redis/lua');

test('the Lua library is the reviewed one (npm run lua writes it anew)', () => {
  assert.equal(loadLibrary().source, readFileSync(SNAPSHOT, 'utf8'));
});

test('every operation says what its keys and replies are', () => {
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.lua'))) {
    const source = readFileSync(join(FOLDER, file), 'utf8');
    assert.match(source, /^(-- .*\n)+?-- KEYS {2}1 the (shard's base key|base key of the first shard)\n/, file);
    assert.match(source, /^-- Returns /m, file);
    assert.ok(source.includes(`\noperation('${file.replace('.lua', '').replaceAll('-', '_')}', `), file);
  }
});

test('the name of the library changes with its code, and with nothing else', () => {
  assert.equal(loadLibrary().name, loadLibrary().name);
  assert.notEqual(loadLibrary().name, loadLibrary('local function clock() return 1 end').name);
});

test('no operation reads a clock other than TIME, or searches what has no bound', () => {
  const { source } = loadLibrary();
  assert.doesNotMatch(source, /os\.time|os\.clock/);
  assert.doesNotMatch(source, /'(KEYS|SCAN|SMEMBERS|LREM|LPOS)'/);
});
