import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { INVARIANTS } from '../faults/checker/invariant.ts';
import { HOMES } from '../faults/homes/all-homes.ts';
import { MUTANTS } from '../faults/mutants/all-mutants.ts';
import { readResults, WHOLE_RUN } from '../faults/results.ts';
import { RELIABILITY, withFaults } from '../faults/table.ts';

const page = readFileSync(RELIABILITY, 'utf8');

describe('docs/reliability.md', () => {
  it('shows what the last full run under faults has seen, and nothing else (npm run readme writes it anew)', () => {
    assert.equal(withFaults(page, readResults(WHOLE_RUN)), page);
  });

  it('names every rule that the checker holds to', () => {
    for (const invariant of INVARIANTS) assert.ok(page.includes(`| ${invariant} |`), invariant);
  });

  it('shows a run that was good, on every home, and found every deliberate bug', () => {
    const results = readResults(WHOLE_RUN);
    if (results === null) return;
    assert.equal(results.dose, 'full');
    assert.ok(results.passed);
    assert.deepEqual(
      results.homes.map(({ home }) => home),
      Object.keys(HOMES),
    );
    assert.deepEqual(
      results.mutants.map(({ mutant, caught }) => [mutant, caught]),
      MUTANTS.map(({ name }) => [name, true]),
    );
  });
});
