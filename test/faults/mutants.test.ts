import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SOURCE } from './homes/broker-process.ts';
import { FAULTS } from './injector/all-faults.ts';
import { MUTANTS } from './mutants/all-mutants.ts';
import { changedCopy } from './mutants/changed-copy.ts';

describe('a deliberate bug', () => {
  for (const { name, home, faults, edits } of MUTANTS) {
    it(`is built into the source as it is now, and has faults that show it: ${name}`, () => {
      const { code, remove } = changedCopy(SOURCE, edits);
      try {
        for (const { file } of edits) {
          assert.notEqual(readFileSync(join(code, file), 'utf8'), readFileSync(join(SOURCE, file), 'utf8'), file);
        }
      } finally {
        remove();
      }
      for (const wanted of faults) {
        assert.ok(
          FAULTS.some((fault) => fault.name === wanted && fault.homes.includes(home)),
          wanted,
        );
      }
    });
  }

  it('is refused where what it changes stands there never or twice', () => {
    for (const find of ['no such line', 'import ']) {
      assert.throws(() => changedCopy(SOURCE, [{ file: 'src/main.ts', find, replace: '' }]), /not once/);
    }
  });
});
