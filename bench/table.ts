/** Prints the committed results as Markdown: `node bench/table.ts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Row } from './figure.ts';
import type { Machine } from './machine.ts';
import { readResults, type Results, WHOLE_RUN } from './results.ts';

const README = new URL('../README.md', import.meta.url);
const BEGIN = '<!-- bench:begin -->';
const END = '<!-- bench:end -->';

const SIGNS = { '<': '<', '<=': '≤', '>': '>', '>=': '≥', '=': '=' } as const;

/** A number with its unit, with as many digits as mean something. */
export function showNumber(value: number, unit: Row['unit']): string {
  const large = Math.abs(value) >= 1000;
  const digits =
    large || (unit === '' && Number.isInteger(value)) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const text = value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit === '' || unit === '×' ? `${text}${unit}` : `${text} ${unit}`;
}

export function showTarget({ target, unit }: Row): string {
  if (target === null) return '';
  const { is, value } = target;
  return `${SIGNS[is]} ${showBound(value)}${unit === '' || unit === '×' ? unit : ` ${unit}`}`;
}

function showBound(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 2 });
}

export function showMet(met: boolean | null): string {
  return met === null ? '' : met ? 'yes' : 'NO';
}

function showMachine({ cpu, cores, memoryGib, kernel, files, node, redis, peers }: Machine): string {
  const others = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  return (
    `${cpu}, ${cores} cores, ${memoryGib} GiB, Linux ${kernel}, files on ${files}; Node ${node}, Redis ${redis}; ` +
    `compared with ${others.join(', ')}`
  );
}

/** The results as a table, with what they were taken on. */
export function markdown({ machine, results }: Results): string {
  const lines = ['| figure | measured | | target | met |', '| --- | --- | ---: | ---: | --- |'];
  for (const { id, title, rows, error } of results) {
    const name = `**${id.toUpperCase()}** ${title}`;
    if (error !== null) lines.push(`| ${name} | not measured: ${error.split('\n')[0]} | | | |`);
    for (const [index, row] of rows.entries()) {
      const cells = [
        index === 0 ? name : '',
        row.what,
        showNumber(row.measured, row.unit),
        showTarget(row),
        row.met === false ? '**no**' : showMet(row.met),
      ];
      lines.push(`| ${cells.join(' | ')} |`);
    }
  }
  const skipped = results.flatMap((result) => result.skipped.map((line) => `${result.id.toUpperCase()} ${line}`));
  if (skipped.length > 0) lines.push('', `Left out: ${skipped.join('; ')}.`);
  const [from = ''] = results.map(({ at }) => at.slice(0, 10)).sort();
  lines.push('', `Taken on ${from} on ${showMachine(machine)}.`);
  lines.push('All samples and the conditions of each figure: [bench/results.json](bench/results.json).');
  lines.push('To measure again: `npm run bench`, or one figure: `npm run bench -- s1`.');
  return lines.join('\n');
}

/**
 * The README with the table of these results between its markers.
 * @throws Error when it has no markers
 */
export function withTable(readme: string, results: Results): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`README.md has no ${BEGIN} … ${END}`);
  return `${readme.slice(0, begin + BEGIN.length)}\n${markdown(results)}\n${readme.slice(end)}`;
}

/**
 * Writes the table of the last whole run into the README.
 * @throws Error when there is no such run, or no markers
 */
export function rewriteReadme(): void {
  const results = readResults(WHOLE_RUN);
  if (results === null) throw new Error('there is no bench/results.json: run "npm run bench" first');
  writeFileSync(README, withTable(readFileSync(README, 'utf8'), results));
}

if (import.meta.main) {
  const results = readResults(WHOLE_RUN);
  console.log(results === null ? 'There is no bench/results.json: run "npm run bench" first.' : markdown(results));
}
