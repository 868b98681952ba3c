import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { repeatsOf } from './checker/invariants/justified-repeats.ts';
import type { FaultWindow, Ledger } from './checker/ledger.ts';
import type { FailoverResult } from './failover-loss/prove-failovers.ts';
import { FAULTS } from './injector/all-faults.ts';
import type { PowerLossResult } from './power-loss/power-loss.ts';
import type { RoundResult } from './round.ts';

/** What one kind of fault did to one home. */
export interface FaultResult {
  home: string;
  fault: string;
  title: string;
  doses: number;
  /** Posted from a dose on until the next fault. */
  tasks: number;
  /** Grants of tasks that had been granted before, all of them justified: after a nack, a release, or the end of a lease. */
  repeats: number;
  /** Those of them that came because a lease ran out. */
  expiries: number;
  /** The longest time without a grant from a dose on until the next fault. */
  longestStallMs: number;
}

export interface HomeResult {
  home: string;
  rounds: number;
  tasks: number;
  faults: number;
  calls: number;
  /** Calls whose outcome was not known at first. */
  unknown: number;
  violations: number;
}

export interface MutantResult {
  mutant: string;
  title: string;
  home: string;
  fault: string;
  /** The invariants that it broke. */
  broke: readonly string[];
  caught: boolean;
  seconds: number;
}

/** The file of results. */
export interface Results {
  /** When the run began, as RFC 3339. */
  at: string;
  dose: 'short' | 'full' | 'soak' | 'part';
  /** What runs it again, with its seed. */
  command: string;
  seed: number;
  minutes: number;
  machine: string;
  passed: boolean;
  homes: readonly HomeResult[];
  faults: readonly FaultResult[];
  /** Whether power cuts and failovers are of a second run, after one that had failed there. */
  resumed: boolean;
  mutants: readonly MutantResult[];
  powerCuts: readonly PowerLossResult[];
  /** To replicas that had been cut off. */
  failovers: readonly FailoverResult[];
}

/** The result of a whole run, which docs/reliability.md shows. */
export const WHOLE_RUN = new URL('results.json', import.meta.url);
/** The result of any other run. */
export const PART_RUN = new URL('results.local.json', import.meta.url);

export function readResults(file: URL): Results | null {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
}

export function writeResults(file: URL, results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
}

export function describeMachine(): string {
  const [cpu] = cpus();
  return `${cpus().length} cores (${cpu?.model.trim() ?? 'unknown'}), Node.js ${process.versions.node}, ${process.platform}`;
}

/** What is kept of a round once it was judged; its history is large. */
export interface RoundSummary {
  home: HomeResult;
  doses: readonly DoseResult[];
}

export function summaryOf({ home, verdict: { ledger, violations } }: RoundResult): RoundSummary {
  const { posts, faults, calls } = ledger;
  return {
    home: {
      home,
      rounds: 1,
      tasks: posts.size,
      faults: faults.length,
      calls: calls.length,
      unknown: calls.filter(({ outcome }) => outcome === 'unknown').length,
      violations: violations.length,
    },
    doses: dosesOf(ledger),
  };
}

/** Adds up rounds by home. */
export function homeResults(rounds: readonly RoundSummary[]): HomeResult[] {
  const all = rounds.map(({ home }) => home);
  return [...Map.groupBy(all, ({ home }) => home)].map(([home, some]) => ({
    home,
    rounds: some.length,
    tasks: total(some, ({ tasks }) => tasks),
    faults: total(some, ({ faults }) => faults),
    calls: total(some, ({ calls }) => calls),
    unknown: total(some, ({ unknown }) => unknown),
    violations: total(some, ({ violations }) => violations),
  }));
}

/** Adds up rounds by home and fault, in the order in which faults are listed. */
export function faultResults(rounds: readonly RoundSummary[]): FaultResult[] {
  const byHome = Map.groupBy(rounds, ({ home }) => home.home);
  return [...byHome].flatMap(([home, own]) => {
    const doses = own.flatMap((round) => round.doses);
    return FAULTS.flatMap(({ name, title }) => {
      const some = doses.filter(({ fault }) => fault === name);
      if (some.length === 0) return [];
      return [
        {
          ...{ home, fault: name, title, doses: some.length },
          tasks: total(some, ({ tasks }) => tasks),
          repeats: total(some, ({ repeats }) => repeats),
          expiries: total(some, ({ expiries }) => expiries),
          longestStallMs: Math.max(...some.map(({ stallMs }) => stallMs)),
        },
      ];
    });
  });
}

/** One dose. */
interface DoseResult {
  fault: string;
  tasks: number;
  repeats: number;
  expiries: number;
  stallMs: number;
}

function dosesOf(ledger: Ledger): DoseResult[] {
  const posted = [...ledger.posts.values()].map(({ calls }) => calls[0]?.from ?? 0);
  const repeated = [...repeatsOf(ledger)];
  const lastPost = Math.max(0, ...posted);
  return ledger.faults.map((window, index) => {
    const to = ledger.faults[index + 1]?.from ?? Math.max(window.to, lastPost);
    const within = (at: number): boolean => at >= window.from && at < to;
    return {
      fault: window.fault,
      tasks: posted.filter(within).length,
      repeats: repeated.filter(({ next }) => within(next.grantedAt)).length,
      expiries: repeated.filter(({ next, cause }) => cause === 'expired' && within(next.grantedAt)).length,
      stallMs: longestStall(ledger.served, window, to),
    };
  });
}

/** The longest time without a grant between the fault and `to`. */
function longestStall(served: readonly number[], { from }: FaultWindow, to: number): number {
  let longest = 0;
  let last = from;
  for (const at of served) {
    if (at < from) continue;
    if (at >= to) break;
    longest = Math.max(longest, at - last);
    last = at;
  }
  return Math.max(longest, to - last);
}

function total<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0);
}
