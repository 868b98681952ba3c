import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { SOURCE } from '../homes/broker-process.ts';
import { FAULTS } from '../injector/all-faults.ts';
import { type RoundResult, runRound } from '../round.ts';
import { changedCopy } from './changed-copy.ts';
import type { Mutant } from './mutant.ts';

export interface MutantOutcome {
  round: RoundResult;
  /** Whether it broke one of the invariants that it must break. */
  caught: boolean;
}

/** A healthy store is drained sooner. */
const DRAIN_MS = 8000;
const PACE = { pauseMs: 20, most: 15, tasksPerFault: 150 };

/** Runs brokers with a bug built in under the faults that show it, and has the checker judge them. */
export async function tryMutant(
  { name, home, faults, breaks, edits }: Mutant,
  options: { seed: number; dir: string; say: (line: string) => void },
): Promise<MutantOutcome> {
  const { seed, say } = options;
  const dir = join(options.dir, name);
  mkdirSync(dir);
  const doses = faults.map((wanted, index) => {
    const fault = FAULTS.find((known) => known.name === wanted);
    if (!fault) throw new Error(`mutant ${name} needs the fault ${wanted}, which there is not`);
    return { fault, dose: index + 1 };
  });
  const { code, remove } = changedCopy(SOURCE, edits);
  try {
    const command = `npm run test:faults -- --mutant=${name} --seed=${seed}`;
    const round = await runRound({
      home,
      seed,
      command,
      code,
      doses,
      dir,
      pace: PACE,
      drainMs: DRAIN_MS,
      giveForMs: Number.POSITIVE_INFINITY,
      say,
    });
    return { round, caught: round.verdict.violations.some(({ invariant }) => breaks.includes(invariant)) };
  } finally {
    remove();
  }
}
