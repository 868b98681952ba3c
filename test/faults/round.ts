import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { judge, type Verdict } from './checker/verdict.ts';
import { mergeHistories, readHistory } from './history/read-history.ts';
import { HOMES } from './homes/all-homes.ts';
import type { Home, HomeName } from './homes/home.ts';
import type { Fault } from './injector/fault.ts';
import { Aftermath } from './load/aftermath.ts';
import { examine } from './load/examination.ts';
import { draw, drawWhole } from './load/draw.ts';
import { Load } from './load/load.ts';
import { ReadinessWatch } from './load/readiness-watch.ts';
import { StallWatch } from './load/stall-watch.ts';
import type { Pace } from './load/producer.ts';
import { configureQueues, LIMITS, QUEUES } from './load/queues.ts';
import { until } from '../support/until.ts';

export interface Dose {
  fault: Fault;
  /** Counts the doses of a fault from 1. */
  dose: number;
}

export interface RoundPlan {
  home: HomeName;
  seed: number;
  /** What was typed to get this. */
  command: string;
  /** What holds the code that runs. */
  code: string;
  /** One after the other. */
  doses: readonly Dose[];
  /** For histories; exists. */
  dir: string;
  pace: Pace;
  /** How long the drain may take. */
  drainMs: number;
  /** Faults for which there is no time within this are left out, but for the first. */
  giveForMs: number;
  say: (line: string) => void;
}

export interface RoundResult {
  home: HomeName;
  seed: number;
  verdict: Verdict;
  /** The one history of all processes. */
  history: string;
  events: number;
  seconds: number;
}

const PRODUCERS = 4;
const WORKERS = 6;
const PROCESSES = 2;
/** The least time between two faults. */
const CALM_MS = 500;
/** Long enough for the checker to judge what is done late: it does not while something is broken, nor for 5 s after. */
const CALM_AT_THE_END_MS = 8000;
/** The most that is waited for the load to have posted its share. */
const CATCH_UP_MS = 10_000;
/** Longer than tasks may take to flow again; the checker says what is too long. */
const RECOVERY_MS = 8000;
const LOOKS = 3;

/** Opens a home, puts the load on it, does the doses to it, heals and drains it, and judges what was written. */
export async function runRound(plan: RoundPlan): Promise<RoundResult> {
  const begun = performance.now();
  const { dir, seed, home: name } = plan;
  const home = await HOMES[name]({ code: plan.code });
  const load = new Load({
    urls: home.urls,
    dir,
    seed,
    producers: PRODUCERS,
    workers: WORKERS,
    processes: PROCESSES,
    pace: plan.pace,
  });
  const watch = new ReadinessWatch(home.failovers ? home.urls : [], (event) => load.history.write(event));
  load.history.write({ kind: 'begin', home: name, seed, command: plan.command });
  const stalls = new StallWatch((event) => load.history.write(event));
  try {
    await configureQueues(home.urls[0] ?? '');
    for (const queue of QUEUES) load.history.write({ kind: 'queue', queue, maxConcurrency: LIMITS[queue] });
    await load.start();
    watch.start();
    await flows(load);
    for (const [index, { fault, dose }] of plan.doses.entries()) {
      if (index > 0 && performance.now() - begun > plan.giveForMs) {
        plan.say(
          `left out for lack of time: ${plan.doses
            .slice(index)
            .map((left) => left.fault.name)
            .join(', ')}`,
        );
        break;
      }
      await give(plan, { home, load }, fault, dose);
      await until(() => load.posted >= plan.pace.tasksPerFault * (index + 1), { timeoutMs: CATCH_UP_MS }).catch(
        () => {},
      );
    }
    await sleep(CALM_AT_THE_END_MS);
    await load.stopProducers();
    await watch.stop();
    load.hurry();
    await settleDown(plan, home, load);
  } catch (error) {
    throw new Error(`the round on ${name} could not be finished; what was written of it is in ${dir}`, {
      cause: error,
    });
  } finally {
    await watch.stop();
    await stalls.stop();
    const words = home.brokers.map((broker) => `${broker.name} said last:\n${broker.output}\n`);
    writeFileSync(join(dir, 'brokers.txt'), words.join('\n'));
    if (home.failovers) writeFileSync(join(dir, 'servers.txt'), home.failovers.output());
    await home.stop();
  }
  const history = join(dir, 'history.jsonl');
  mergeHistories(load.close(), history);
  const events = readHistory(history);
  const seconds = (performance.now() - begun) / 1000;
  return { home: name, seed, verdict: judge(events), history, events: events.length, seconds };
}

async function give(
  plan: RoundPlan,
  { home, load }: { home: Home; load: Load },
  fault: Fault,
  dose: number,
): Promise<void> {
  const { seed } = plan;
  const { name, silences, flawless, onlyWorkers } = fault;
  const promises = { silences, flawless, ...(onlyWorkers ? { onlyWorkers } : {}) };
  const told = { kind: 'fault', fault: name, dose, ...promises } as const;
  let drawn = 0;
  const pick = (below: number): number => drawWhole(0, below, seed, name, dose, drawn++);
  load.history.write({ ...told, phase: 'inject', what: fault.title });
  const injected = await fault.inject({ home, load, pick });
  await sleep(fault.holdMs);
  const healed: { whom?: string; mendedAt?: number } = injected.whom === undefined ? {} : { whom: injected.whom };
  await injected.heal(() => (healed.mendedAt = Date.now()));
  load.history.write({ ...told, phase: 'heal', what: injected.what, ...healed });
  plan.say(`${name} ${dose}: ${injected.what}, healed; ${load.posted} tasks so far`);
  await flows(load);
  await sleep(CALM_MS * (1 + draw(seed, name, dose, 'calm')));
}

/** Resolves when something more was granted from each queue, or it takes too long for that, which is in the history. */
async function flows(load: Load): Promise<void> {
  const before = new Map(QUEUES.map((queue) => [queue, load.servedOf(queue)]));
  const flowing = (): boolean => QUEUES.every((queue) => load.servedOf(queue) > (before.get(queue) ?? 0));
  await until(flowing, { timeoutMs: RECOVERY_MS }).catch(() => {});
}

/** What was found; a look that fails, because the machine stands still perhaps, is taken again. @returns why, if none succeeds */
async function looked(look: () => Promise<readonly string[]>): Promise<string[]> {
  for (let tries = 1; ; tries++) {
    try {
      return [...(await look())];
    } catch (error) {
      if (tries === LOOKS)
        return [`it could not be looked at: ${error instanceof Error ? error.message : String(error)}`];
    }
  }
}

/** Waits for the end of all tasks and takes the census. What does not come to an end is in the history by what it lacks. */
async function settleDown(plan: RoundPlan, home: Home, load: Load): Promise<void> {
  const aftermath = new Aftermath(home.urls[0] ?? '', (event) => load.history.write(event));
  try {
    await aftermath.drained(plan.drainMs);
  } catch (error) {
    plan.say(error instanceof Error ? error.message : String(error));
  }
  await load.stopWorkers();
  await aftermath.census();
  const findings = await looked(() => examine(home, plan.dir));
  load.history.write({ kind: 'examined', findings });
  const names = await aftermath.clear().then(
    () => looked(() => home.leftovers()),
    (error: unknown) => [error instanceof Error ? error.message : String(error)],
  );
  aftermath.close();
  load.history.write({ kind: 'left', what: `entries in the store (${home.name})`, names });
}
