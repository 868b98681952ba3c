import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadScripts } from '../../src/store/redis/scripts.ts';

const folder = join(import.meta.dirname, 'lua');

test('the expanded Lua scripts are the reviewed ones (npm run lua writes them anew)', () => {
  const scripts = loadScripts();
  assert.deepEqual(
    readdirSync(folder).sort(),
    Object.keys(scripts)
      .map((name) => `${name}.lua`)
      .sort(),
  );
  for (const [name, { source }] of Object.entries(scripts)) {
    assert.equal(source, readFileSync(join(folder, `${name}.lua`), 'utf8'), name);
  }
});

test('every script says what its keys and replies are', () => {
  for (const [name, { source }] of Object.entries(loadScripts())) {
    assert.match(
      source,
      /^(#!lua flags=allow-oom\n)?(-- .*\n)+?-- KEYS {2}1 the (shard's base key|base key of the first shard)\n/,
      name,
    );
    assert.match(source, /^-- Returns /m, name);
  }
});

test('no script reads a clock other than TIME, or removes from the middle of an unbounded list', () => {
  for (const [name, { source }] of Object.entries(loadScripts())) {
    assert.doesNotMatch(source, /os\.time|os\.clock/, name);
    for (const line of source.split('\n').filter((text) => text.includes("'LREM'"))) {
      // Buckets alone, which hold 128 ids at most.
      assert.match(line, /call\('LREM', list, 1, task\.id\)/, name);
    }
    assert.doesNotMatch(source, /'(KEYS|SCAN|SMEMBERS)'/, name);
  }
});
