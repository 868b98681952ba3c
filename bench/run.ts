/** npm run bench [-- FIGURE…] [--quick] [--merge] [--readme]: measures the figures, or those named. */
import { parseArgs } from 'node:util';
import { type Bench, type Figure, isMet } from './figure.ts';
import { FIGURES } from './figures/all.ts';
import { busyBefore, describeMachine, unfit } from './machine.ts';
import { killAll, lastWords } from './process/launch.ts';
import { mergeResults, PART_RUN, readResults, type Result, type Results, WHOLE_RUN, writeResults } from './results.ts';
import { rewriteReadme, showMet, showNumber, showTarget } from './table.ts';

const HELP = `npm run bench [-- FIGURE…] [--quick] [--merge] [--readme]

Measures the figures (${FIGURES.map(({ id }) => id).join(', ')}), or those named, and prints a table.
A whole run takes about a quarter of an hour and writes bench/results.json; any other writes
bench/results.local.json.

  --quick   a short dose, about five minutes in all: shows that everything works, not how fast
  --merge   puts the figures that are named into bench/results.json, in the place of older ones
  --readme  puts the table of bench/results.json into README.md and measures nothing
`;

/** No figure takes longer unless something hangs, or it says so itself. */
const FIGURE_MS = 240_000;
/** What others may use of this machine before a run, in cores. */
const QUIET = 0.5;

const { values, positionals } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    merge: { type: 'boolean', default: false },
    readme: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});

process.exitCode = await main();

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  if (values.readme) return showInReadme();
  const asked = positionals.map((id) => id.toLowerCase());
  const unknown = asked.filter((id) => !FIGURES.some((figure) => figure.id === id));
  const reason = unknown.length > 0 ? `no such figure: ${unknown.join(', ')}\n\n${HELP}` : unfit();
  if (reason !== null) {
    console.error(reason);
    return 2;
  }
  const busy = busyBefore();
  if (busy > QUIET)
    console.error(`Others are using ${busy.toFixed(1)} cores of this machine: figures will be worse and waver.`);

  // So that servers end with the run.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
  const begun = performance.now();
  const results: Result[] = [];
  for (const figure of FIGURES) {
    if (asked.length === 0 || asked.includes(figure.id)) results.push(await measure(figure, values.quick));
  }
  const whole = asked.length === 0 && !values.quick;
  save({ machine: await describeMachine(), results }, whole);
  printTable(results);
  console.error(`Took ${((performance.now() - begun) / 60_000).toFixed(1)} minutes.`);
  return results.some(({ error }) => error !== null) ? 1 : 0;
}

function showInReadme(): number {
  try {
    rewriteReadme();
    return 0;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

/** Measures one figure. What goes wrong is part of the result, so that the others are measured all the same. */
async function measure(figure: Figure, quick: boolean): Promise<Result> {
  const conditions: string[] = [];
  const skipped: string[] = [];
  const bench: Bench = {
    quick,
    dose: (wholeDose, quickDose) => (quick ? quickDose : wholeDose),
    progress: (text) => console.error(`  ${text}`),
    condition: (text) => conditions.push(text),
    skip: (text) => {
      console.error(`  left out: ${text}`);
      skipped.push(text);
    },
  };
  console.error(`${figure.id}: ${figure.title}`);
  lastWords();
  const at = new Date().toISOString();
  const busy = busyBefore();
  const start = performance.now();
  let rows: Result['rows'] = [];
  let error: string | null = null;
  try {
    rows = (await within(figure.longestMs ?? FIGURE_MS, figure.run(bench))).map((row) => {
      return { ...row, met: isMet(row) };
    });
  } catch (failure) {
    error = failure instanceof Error ? failure.message : String(failure);
    console.error(`  ${figure.id} could not be measured: ${error}\n${lastWords()}`);
    killAll();
  }
  return {
    ...{ id: figure.id, title: figure.title, at, dose: quick ? 'quick' : 'whole' },
    command: `npm run bench -- ${figure.id}${quick ? ' --quick' : ''}`,
    ...{ seconds: (performance.now() - start) / 1000, busyBefore: busy, conditions, skipped, rows, error },
  };
}

function within<Value>(ms: number, work: Promise<Value>): Promise<Value> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not done within ${ms / 1000} s`)), ms);
  return Promise.race([work, promise]).finally(() => clearTimeout(timer));
}

function save(fresh: Results, whole: boolean): void {
  const old = values.merge ? readResults(WHOLE_RUN) : null;
  const file = whole || values.merge ? WHOLE_RUN : PART_RUN;
  writeResults(file, old === null ? fresh : mergeResults(old, fresh));
  console.error(`Written to ${file.pathname}`);
}

function printTable(results: readonly Result[]): void {
  const cells = [['figure', 'what', 'measured', 'target', 'met?']];
  for (const { id, rows, skipped, error } of results) {
    for (const row of rows) {
      cells.push([id, row.what, showNumber(row.measured, row.unit), showTarget(row), showMet(row.met)]);
    }
    for (const line of skipped) cells.push([id, `left out: ${line}`, '', '', '']);
    if (error !== null) cells.push([id, `not measured: ${error.split('\n')[0] ?? ''}`, '', '', 'NO']);
  }
  // A line that says why something was left out does not make the others wide.
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...cells.map((row) => (row[2] === '' ? 0 : (row[column]?.length ?? 0)))),
  );
  for (const row of cells) {
    const [id = '', what = '', measured = '', target = '', met = ''] = row;
    const [idWidth = 0, whatWidth = 0, measuredWidth = 0, targetWidth = 0] = widths;
    console.log(
      `${id.padEnd(idWidth)}  ${what.padEnd(whatWidth)}  ${measured.padStart(measuredWidth)}  ${target.padEnd(targetWidth)}  ${met}`.trimEnd(),
    );
  }
}
