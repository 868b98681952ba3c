/**
 * node test/faults/power-loss/run.ts [--full] [--seed=N] [--home=NAME]: cuts the power under a load and sees what is left.
 * The short dose takes half a minute.
 */
import { parseArgs } from 'node:util';
import { cutPower, HOMES, type PowerLossResult } from './power-loss.ts';

const { values } = parseArgs({
  options: { full: { type: 'boolean', default: false }, seed: { type: 'string' }, home: { type: 'string' } },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const dose = values.full
  ? { recordings: 5, cuts: 40, tasks: 2000, durationMs: 4000 }
  : { recordings: 1, cuts: 6, tasks: 1000, durationMs: 2500 };
const say = (line: string): void => void process.stdout.write(`${line}\n`);

say(`Power cuts, ${values.full ? 'full' : 'short'} dose, seed ${seed}.`);
let failed = 0;
for (const home of HOMES.filter(({ name }) => values.home === undefined || name.includes(values.home))) {
  const result = await cutPower(home, { seed, ...dose, say });
  say(lineOf(result));
  for (const failure of result.failures) say(`  ${failure}`);
  if (result.failures.length > 0) failed++;
}
process.exit(failed > 0 ? 1 : 0);

function lineOf({
  home,
  failures,
  cuts,
  answered,
  cutsWithLoss,
  mostTasksLost,
  longestWindowMs,
  repaired,
  damaged,
}: PowerLossResult) {
  const loss =
    cutsWithLoss === 0
      ? 'nothing answered was lost'
      : `${cutsWithLoss} cuts lost something, at most ${mostTasksLost} tasks of the last ${Math.ceil(longestWindowMs)} ms`;
  const mended = repaired === 0 ? '' : `; ${repaired} times redis-check-aof had to mend the file first`;
  const gaps = damaged === 0 ? '' : `; ${damaged} tasks that were not answered yet had a gap in their payload`;
  return `${failures.length === 0 ? 'ok  ' : 'FAIL'} ${home}: ${cuts} cuts, ${answered} answers before them, ${loss}${mended}${gaps}`;
}
