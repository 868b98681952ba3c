import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMet, type Row } from '../../bench/figure.ts';
import type { Machine } from '../../bench/machine.ts';
import { mergeResults, type Result, type Results } from '../../bench/results.ts';
import { markdown, showNumber, withTable } from '../../bench/table.ts';

const MACHINE: Machine = {
  ...{ cpu: 'a CPU', cores: 2, memoryGib: 8, kernel: '6.1', node: '26.0.0', redis: '7.0.15' },
  files: 'disk',
  peers: { bullmq: '6.7.0' },
};

function row(measured: number, target: Row['target']): Result['rows'][number] {
  const plain: Row = { what: 'this ÷ that', unit: '×', measured, target, samples: { ratio: [measured] } };
  return { ...plain, met: isMet(plain) };
}

function result(id: string, rows: Result['rows']): Result {
  return {
    ...{ id, title: 'a figure', at: '2030-01-31T09:30:00.000Z', dose: 'whole', command: '', seconds: 1, busyBefore: 0 },
    ...{ conditions: [], skipped: [], rows, error: null },
  };
}

test('a target is met at its bound only where it includes it', () => {
  assert.equal(row(1, { is: '<=', value: 1 }).met, true);
  assert.equal(row(1, { is: '<', value: 1 }).met, false);
  assert.equal(row(1, { is: '>', value: 1 }).met, false);
  assert.equal(row(Number.NaN, { is: '<=', value: 1 }).met, false);
  assert.equal(row(1, null).met, null);
});

test('a number is shown with as many digits as mean something', () => {
  assert.equal(showNumber(1, '×'), '1.00×');
  assert.equal(showNumber(14.26, 'KiB'), '14.3 KiB');
  assert.equal(showNumber(15_000, ''), '15,000');
  assert.equal(showNumber(0, ''), '0');
});

test('the table names what was missed, and what it was taken on', () => {
  const text = markdown({ machine: MACHINE, results: [result('s1', [row(2, { is: '<=', value: 1.25 })])] });
  assert.match(text, /\| \*\*S1\*\* a figure \| this ÷ that \| 2\.00× \| ≤ 1\.25× \| \*\*no\*\* \|/);
  assert.match(text, /Taken on 2030-01-31 on a CPU, 2 cores/);
});

test('the README keeps everything around the table, and takes a new one', () => {
  const results: Results = { machine: MACHINE, results: [result('s1', [row(1, null)])] };
  const once = withTable('before\n<!-- bench:begin -->\n<!-- bench:end -->\nafter\n', results);
  assert.equal(once, `before\n<!-- bench:begin -->\n${markdown(results)}\n<!-- bench:end -->\nafter\n`);
  assert.equal(withTable(once, results), once);
  assert.throws(() => withTable('no markers', results), /bench:begin/);
});

test('new results take the place of those of the same figure, of the same machine only', () => {
  const old: Results = { machine: MACHINE, results: [result('s1', []), result('s2', [])] };
  const again = result('s2', [row(1, null)]);
  const merged = mergeResults(old, { machine: MACHINE, results: [again, result('s3', [])] });
  assert.deepEqual(
    merged.results.map(({ id }) => id),
    ['s1', 's2', 's3'],
  );
  assert.equal(merged.results[1], again);
  assert.throws(() => mergeResults(old, { machine: { ...MACHINE, cpu: 'another' }, results: [] }), /cpu is a CPU/);
});
