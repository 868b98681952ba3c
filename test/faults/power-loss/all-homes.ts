import { endureFailingDisk } from '../disk/failing-disk.ts';
import { appendOnlyHome } from './append-only-file.ts';
import { embeddedHome } from './embedded.ts';
import type { Home } from './home.ts';
import { cutPower, type PowerLossResult } from './power-loss.ts';

const HOMES: readonly Home[] = [
  embeddedHome('full'),
  embeddedHome('normal'),
  appendOnlyHome('always'),
  appendOnlyHome('everysec'),
];

const FULL = { recordings: 4, cuts: 30, tasks: 2000, durationMs: 4000 };
/** Half a minute. */
const SHORT = { recordings: 1, cuts: 6, tasks: 1000, durationMs: 2500 };

export interface DiskProofOptions {
  full: boolean;
  seed: number;
  say: (line: string) => void;
}

/**
 * Power cuts on every home, and disks that fail and work again under a broker that goes on.
 * @returns what the power cuts have come to
 * @throws AssertionError when a broker does not endure a disk that fails
 */
export async function proveDisks({ full, seed, say }: DiskProofOptions): Promise<PowerLossResult[]> {
  for (const fault of ['full', 'unsyncable'] as const) say(`disk ${fault}: ${await endureFailingDisk(fault)}`);
  const results: PowerLossResult[] = [];
  for (const home of HOMES) {
    const result = await cutPower(home, { seed, ...(full ? FULL : SHORT), say });
    results.push(result);
    say(`${home.name}: ${result.failures.length === 0 ? 'good' : 'BROKEN'}, ${told(result)}`);
    for (const failure of result.failures) say(`  ${failure}`);
  }
  return results;
}

function told(result: PowerLossResult): string {
  const { cuts, answered, cutsWithLoss, mostTasksLost, longestWindowMs, repaired, damaged } = result;
  const parts = [`${cuts} cuts`, `${answered} answers before them`];
  if (cutsWithLoss === 0) parts.push('nothing answered was lost');
  else {
    const window = Math.ceil(longestWindowMs);
    parts.push(`${cutsWithLoss} cuts lost something, at most ${mostTasksLost} tasks of the last ${window} ms`);
  }
  if (repaired > 0) parts.push(`redis-check-aof had to mend the file ${repaired} times`);
  if (damaged > 0) parts.push(`${damaged} tasks that were not synced yet had a gap in their payload`);
  return parts.join(', ');
}
