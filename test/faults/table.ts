import { fileURLToPath } from 'node:url';
import type { Results } from './results.ts';

export const RELIABILITY = fileURLToPath(new URL('../../docs/reliability.md', import.meta.url));

const PLACE = /(<!-- faults:begin -->\n)[\s\S]*?(<!-- faults:end -->)/;

/** The page with the table of the results in its place; with none, where nothing was measured. */
export function withFaults(page: string, results: Results | null): string {
  if (!PLACE.test(page)) throw new Error('docs/reliability.md has no place for the table: <!-- faults:begin --> … end');
  return page.replace(PLACE, (_part, begin: string, end: string) => {
    return `${begin}${results === null ? '' : `${markdown(results)}\n`}${end}`;
  });
}

function markdown(results: Results): string {
  const { at, minutes, machine, command, homes, faults, mutants, powerCuts, failovers } = results;
  const tasks = sum(homes.map((home) => home.tasks));
  const doses = sum(homes.map((home) => home.faults));
  const calls = sum(homes.map((home) => home.calls));
  const unknown = sum(homes.map((home) => home.unknown));
  return [
    `${number(tasks)} tasks and ${number(doses)} faults on ${at.slice(0, 10)}, in ${number(minutes)} minutes on ${machine}: no breach of any rule. ` +
      `${number(calls)} calls, of which ${number(unknown)} were left unknown and asked again. The same again: \`${command}\`.` +
      (results.resumed
        ? ' Power cuts and failovers are of a second run, with `--resume`, because the first had failed there.'
        : ''),
    '',
    'A repeat is a grant of a task that had been granted before; each of them was justified. Workers of the load fail and give back tasks on purpose;',
    '*by expiry* counts those that came because a lease ran out. The longest stall is the longest time without any grant.',
    '',
    '| home | fault | doses | tasks | repeats | by expiry | longest stall |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: |',
    ...faults.map((row) => {
      const cells = [row.doses, row.tasks, row.repeats, row.expiries].map(number);
      return `| ${row.home} | ${row.title} | ${cells.join(' | ')} | ${number(row.longestStallMs)} ms |`;
    }),
    '',
    '| deliberate bug | under | rules that it broke |',
    '| --- | --- | --- |',
    ...mutants.map(({ title, fault, broke }) => `| ${title} | ${fault} | ${broke.join(', ')} |`),
    '',
    'Power cuts: what had been answered before each, and what of that was gone. The last column is how long before the cut the earliest of it',
    'was answered.',
    '',
    '| storage | cuts | answers before them | cuts with a loss | most tasks lost | of the last |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    ...powerCuts.map((row) => {
      const cells = [row.cuts, row.answered, row.cutsWithLoss, row.mostTasksLost].map(number);
      const window = row.cutsWithLoss === 0 ? '' : `${number(Math.ceil(row.longestWindowMs))} ms`;
      return `| ${row.home} | ${cells.join(' | ')} | ${window} |`;
    }),
    '',
    'Failovers to a replica that had been cut off: what was answered before, during and after them, and what of that was gone.',
    '',
    '| store | durability | failovers | answers | tasks lost | acks lost | calls unknown |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: |',
    ...failovers.map((row) => {
      const cells = [row.runs, row.answered, row.lostTasks, row.lostAcks, row.unknown].map(number);
      return `| ${row.topology} | ${row.durability} | ${cells.join(' | ')} |`;
    }),
  ].join('\n');
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
