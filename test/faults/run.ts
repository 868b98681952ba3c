/** npm run test:faults [-- OPTIONS]: the load under faults, and the checker's verdict. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { INVARIANTS } from './checker/invariant.ts';
import { ensurePrograms } from '../../scripts/programs.ts';
import { run } from '../../scripts/tools.ts';
import { accountOf } from './checker/verdict.ts';
import { recorderEnv } from './disk/recorder.ts';
import { SOURCE } from './homes/broker-process.ts';
import { HOMES } from './homes/all-homes.ts';
import type { HomeName } from './homes/home.ts';
import { proveFailovers } from './failover-loss/prove-failovers.ts';
import { FAULTS } from './injector/all-faults.ts';
import { ServersStuck } from './injector/failover-faults.ts';
import { MUTANTS } from './mutants/all-mutants.ts';
import { tryMutant } from './mutants/try-mutant.ts';
import {
  describeMachine,
  faultResults,
  homeResults,
  type MutantResult,
  PART_RUN,
  readResults,
  type Results,
  type RoundSummary,
  summaryOf,
  WHOLE_RUN,
  writeResults,
} from './results.ts';
import { type RoundResult, runRound } from './round.ts';
import { proveDisks } from './power-loss/all-homes.ts';
import { scheduleOf } from './schedule.ts';

const HELP = `npm run test:faults [-- OPTIONS]

Real brokers, a load of HTTP producers and workers, faults, and a checker that judges the history of it all.
Without options: every fault once on every home, in some minutes.

  --full            at least ${thousands(200_000)} tasks and 300 faults; writes test/faults/results.json
  --soak=MINUTES    goes on for so long
  --within=MINUTES  the faults of a pass take no longer; but for one of each home, those that there is no time for are left out
  --seed=N          repeats the schedule of faults and the decisions of the load
  --home=NAME       only this one: ${Object.keys(HOMES).join(', ')}
  --fault=NAME      only this one: ${FAULTS.map(({ name }) => name).join(', ')}
  --mutant=NAME     only this deliberate bug, and no run without: ${MUTANTS.map(({ name }) => name).join(', ')}
  --disks           only power cuts, full disks and disks that do not sync
  --failovers       only failovers to replicas that were cut off, with and without WAIT
  --resume          goes on after a --full run that was good up to the power cuts: these, and what comes after them
  --times=N         doses of each fault in one round, half as many of those that take long to heal
`;

const FULL = { tasks: 200_000, faults: 300, ofEach: 10, times: 2, pace: { pauseMs: 20, most: 24, tasksPerFault: 670 } };
/** A drain without an end is a fault of its own. */
const DRAIN_MS = 90_000;
/** Violations that are named at the end; the whole account of the first one is above them. */
const MOST_TOLD = 6;
const SHORT = { times: 1, pace: { pauseMs: 26, most: 15, tasksPerFault: 0 } };

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    soak: { type: 'string' },
    within: { type: 'string' },
    seed: { type: 'string' },
    home: { type: 'string', multiple: true },
    fault: { type: 'string', multiple: true },
    mutant: { type: 'string', multiple: true },
    disks: { type: 'boolean', default: false },
    failovers: { type: 'boolean', default: false },
    resume: { type: 'boolean', default: false },
    times: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

process.exitCode = await main();

async function main(): Promise<number> {
  if (values.help) {
    say(HELP);
    return 0;
  }
  const homes = Object.keys(HOMES)
    .filter(isHome)
    .filter((name) => values.home?.includes(name) ?? true);
  const faults = FAULTS.filter(({ name }) => values.fault?.includes(name) ?? true);
  const unknown = [
    ...(values.home ?? []).filter((name) => !(name in HOMES)),
    ...(values.fault ?? []).filter((name) => !FAULTS.some((fault) => fault.name === name)),
    ...(values.mutant ?? []).filter((name) => !MUTANTS.some((mutant) => mutant.name === name)),
  ];
  if (unknown.length > 0) {
    say(`no such home, fault or mutant: ${unknown.join(', ')}\n\n${HELP}`);
    return 2;
  }
  try {
    ensurePrograms('to run under faults', ['redis-server']);
    // Built now, so that a machine without what it takes is told of at the beginning.
    if (values.disks || homes.includes('failing-disk')) recorderEnv({});
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 2;
  }
  // So that brokers and servers end with the run.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

  const resumed = values.resume ? resumable() : null;
  if (values.resume && resumed === null) {
    say(`there is no --full run in ${PART_RUN.pathname} that was good up to the power cuts`);
    return 2;
  }
  const at = new Date();
  const seed = resumed?.seed ?? Number(values.seed ?? at.getTime() % 1_000_000);
  const dose = values.full || resumed !== null ? 'full' : values.soak === undefined ? 'short' : 'soak';
  const times = Number(values.times ?? (values.full ? FULL.times : SHORT.times));
  /** Only proofs that are named. */
  const proofs = values.mutant !== undefined || values.disks || values.failovers;
  const part = values.home !== undefined || values.fault !== undefined || proofs;
  const command = commandOf(seed, times);
  const dir = mkdtempSync(join(tmpdir(), 'lessor-faults-'));
  say(`Seed ${seed}. The same again: ${command}`);

  const rounds: RoundSummary[] = [];
  const soakMs = 60_000 * Number(values.soak ?? 0);
  const begun = performance.now();
  const isEnough = (): boolean => {
    if (!values.full) return performance.now() - begun >= soakMs;
    const all = homeResults(rounds);
    const large = sum(all, ({ tasks }) => tasks) >= FULL.tasks && sum(all, ({ faults }) => faults) >= FULL.faults;
    const slow = new Set(FAULTS.filter((fault) => fault.slow).map(({ name }) => name));
    return large && faultResults(rounds).every(({ fault, doses }) => doses >= FULL.ofEach / (slow.has(fault) ? 2 : 1));
  };
  let failed = false;
  /** Said again at the end, where nobody has to look for it. */
  const whyFailed: string[] = [];
  for (let pass = 0; !proofs && resumed === null && !failed && (pass === 0 || !isEnough()); pass++) {
    const withinMs = values.within === undefined ? Number.POSITIVE_INFINITY : 60_000 * Number(values.within);
    const passEnds = performance.now() + withinMs;
    for (const [index, home] of homes.entries()) {
      const doses = scheduleOf(home, faults, times, seed + pass);
      if (doses.length === 0 || failed) continue;
      const roundDir = join(dir, `${home}-${seed + pass}`);
      mkdirSync(roundDir);
      const { pace } = values.full ? FULL : SHORT;
      const only = (values.fault ?? []).map((name) => ` --fault=${name}`).join('');
      const again = `npm run test:faults -- --home=${home}${only} --times=${times} --seed=${seed + pass}`;
      say(`${home}, round ${pass + 1}: ${doses.length} faults`);
      const play = (): Promise<RoundResult> =>
        runRound({
          ...{ home, seed: seed + pass, command: again, code: SOURCE, doses, dir: roundDir, pace, drainMs: DRAIN_MS },
          giveForMs: (passEnds - performance.now()) / (homes.length - index),
          say: (line) => say(`  ${line}`),
        });
      // Once more: what happens twice is no accident among the servers.
      const round = await play().catch((error: unknown) => {
        if (!(error instanceof Error && error.cause instanceof ServersStuck)) throw error;
        say(
          `  the servers are stuck, which says nothing of brokers (${error.cause.message}): the round is played again`,
        );
        renameSync(roundDir, `${roundDir}-stuck`);
        mkdirSync(roundDir);
        return play();
      });
      rounds.push(summaryOf(round));
      failed = !report(round, again);
      if (failed) whyFailed.push(...summaryOfFailure(round, again));
      if (!failed) rmSync(roundDir, { recursive: true, force: true });
    }
  }
  const mutants =
    resumed?.mutants ?? (failed || (part && values.mutant === undefined) ? [] : await tryMutants(seed, dir));
  whyFailed.push(...mutants.filter(({ caught }) => !caught).map(({ mutant }) => `mutant ${mutant} was not caught`));
  failed ||= whyFailed.length > 0;
  const powerCuts = failed || (part && !values.disks) ? [] : await proveDisks({ full: dose === 'full', seed, say });
  whyFailed.push(...powerCuts.flatMap(({ failures }) => failures));
  failed ||= whyFailed.length > 0;
  const failovers = failed || (part && !values.failovers) ? [] : await proveFailovers({ full: dose === 'full', say });
  whyFailed.push(...failovers.flatMap(({ failures }) => failures));
  failed ||= whyFailed.length > 0;
  if (dose === 'full' && !part && !failed && !runLongTests()) {
    failed = true;
    whyFailed.push('a test of test/**/*.fault.ts, as said above');
  }
  if (!failed) rmSync(dir, { recursive: true, force: true });
  const minutes = Math.round((performance.now() - begun) / 6000 + 10 * (resumed?.minutes ?? 0)) / 10;
  const results: Results = {
    ...{ at: at.toISOString(), dose: part ? 'part' : dose, seed, machine: describeMachine() },
    ...{ command: resumed?.command ?? command, minutes, resumed: resumed !== null },
    homes: resumed?.homes ?? homeResults(rounds),
    faults: resumed?.faults ?? faultResults(rounds),
    ...{ passed: !failed, mutants, powerCuts, failovers },
  };
  const file = dose === 'full' && !part && !failed ? WHOLE_RUN : PART_RUN;
  writeResults(file, results);
  printTable(results);
  say(`${failed ? 'FAILED' : 'Passed'} in ${minutes} minutes, seed ${seed}. Written to ${file.pathname}`);
  for (const line of whyFailed) say(`  ${line}`);
  return failed ? 1 : 0;
}

/** The last run, if it was a full one whose rounds were good and whose mutants were caught. */
function resumable(): Results | null {
  const last = readResults(PART_RUN);
  if (last?.dose !== 'full' || last.homes.length < Object.keys(HOMES).length) return null;
  const good = last.homes.every(({ violations }) => violations === 0);
  return good && last.mutants.length === MUTANTS.length && last.mutants.every(({ caught }) => caught) ? last : null;
}

/** Tests that take too long for `npm test`. @returns whether they pass */
function runLongTests(): boolean {
  return run(process.execPath, ['scripts/test.ts', 'test/**/*.fault.ts'], { stdio: 'inherit' }).code === 0;
}

/** A checker that lets one of them pass proves nothing of what it lets pass otherwise. */
async function tryMutants(seed: number, dir: string): Promise<MutantResult[]> {
  const results: MutantResult[] = [];
  for (const mutant of MUTANTS.filter(({ name }) => values.mutant?.includes(name) ?? true)) {
    const { name, title, home, faults } = mutant;
    say(`mutant ${name}: ${title}`);
    const { round, caught } = await tryMutant(mutant, { seed, dir, say: (line) => say(`  ${line}`) });
    const { violations } = round.verdict;
    const broke = INVARIANTS.filter((invariant) => violations.some((violation) => violation.invariant === invariant));
    say(
      `  ${caught ? 'caught' : 'NOT CAUGHT'}: it broke ${broke.join(', ') || 'nothing'} (${round.seconds.toFixed(0)} s)`,
    );
    if (!caught) say(`  The history: ${round.history}`);
    results.push({ mutant: name, title, home, fault: faults[0] ?? '', broke, caught, seconds: round.seconds });
  }
  return results;
}

/** Says what came of a round. @returns whether it was good */
function report({ home, verdict, history, events, seconds }: RoundResult, again: string): boolean {
  const { ledger, violations } = verdict;
  const good = violations.length === 0;
  say(
    `  ${ledger.posts.size} tasks, ${ledger.calls.length} calls, ${events} events, ${seconds.toFixed(0)} s: ${good ? 'good' : 'BROKEN'}`,
  );
  const { stalls } = ledger;
  if (stalls.length > 0) {
    const longest = Math.max(...stalls.map(({ from, to }) => to - from));
    say(
      `  the machine stood still ${stalls.length} times, for ${longest} ms at most, which is not held against brokers`,
    );
  }
  if (good) return true;
  const account = accountOf(verdict).join('\n');
  const file = join(history, '../account.txt');
  writeFileSync(file, `${home}: ${again}\n\n${account}\n`);
  say(`\n${account}\n\nThe history: ${history}\nThis account: ${file}\nThe same again: ${again}\n`);
  return false;
}

/** What of a round that was not good fits on a few lines. */
function summaryOfFailure({ home, verdict }: RoundResult, again: string): string[] {
  const lines = verdict.violations.map(
    ({ invariant, task, says }) => `${invariant}: ${task === null ? '' : `task ${task} `}${says}`,
  );
  const more = lines.length > MOST_TOLD ? [`and ${lines.length - MOST_TOLD} more`] : [];
  return [`${home}: ${again}`, ...lines.slice(0, MOST_TOLD), ...more];
}

function printTable({ faults }: Results): void {
  const rows = [['home', 'fault', 'doses', 'tasks', 'repeats', 'by expiry', 'longest stall']];
  for (const row of faults) {
    const { home, fault, doses, tasks, repeats, expiries, longestStallMs } = row;
    rows.push([home, fault, ...[doses, tasks, repeats, expiries].map(String), `${longestStallMs} ms`]);
  }
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    say(
      row
        .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  '),
    );
  }
}

function commandOf(seed: number, times: number): string {
  const given = [
    ...(values.full ? ['--full'] : []),
    ...(values.soak === undefined ? [] : [`--soak=${values.soak}`]),
    ...(values.within === undefined ? [] : [`--within=${values.within}`]),
    ...(values.home ?? []).map((name) => `--home=${name}`),
    ...(values.fault ?? []).map((name) => `--fault=${name}`),
    ...(values.mutant ?? []).map((name) => `--mutant=${name}`),
    ...(values.disks ? ['--disks'] : []),
    ...(values.resume ? ['--resume'] : []),
    ...(values.failovers ? ['--failovers'] : []),
    ...(values.times === undefined ? [] : [`--times=${times}`]),
  ];
  return `npm run test:faults -- ${[...given, `--seed=${seed}`].join(' ')}`;
}

function isHome(name: string): name is HomeName {
  return name in HOMES;
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

function thousands(number: number): string {
  return number.toLocaleString('en');
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
