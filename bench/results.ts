import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Row } from './figure.ts';
import type { Machine } from './machine.ts';

/** A figure as it was measured. */
export interface Result {
  id: string;
  title: string;
  /** When, as RFC 3339. */
  at: string;
  dose: 'whole' | 'quick';
  /** What measures it again. */
  command: string;
  seconds: number;
  /** Load average of the minute before, in cores: what others were doing. */
  busyBefore: number;
  conditions: readonly string[];
  /** What was left out, and why. */
  skipped: readonly string[];
  rows: readonly (Row & { met: boolean | null })[];
  /** Why it could not be measured. */
  error: string | null;
}

/** The file of results. */
export interface Results {
  machine: Machine;
  results: Result[];
}

/** The result of a whole run, which the README shows. */
export const WHOLE_RUN = new URL('results.json', import.meta.url);
/** The result of any other run. */
export const PART_RUN = new URL('results.local.json', import.meta.url);

export function readResults(file: URL): Results | null {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : null;
}

export function writeResults(file: URL, results: Results): void {
  const text = JSON.stringify(results, roundNumbers, 2);
  // A list of a thousand samples is one line.
  const compact = text.replace(/\[[\s\d.,e+-]*\]/g, (list) => list.replace(/\s+/g, ' '));
  writeFileSync(file, `${compact}\n`);
}

/** More digits than that are noise. */
function roundNumbers(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toPrecision(5)) : value;
}

/**
 * Puts new results in the place of those of the same figures, which must be of the same machine.
 * @throws Error when they are not
 */
export function mergeResults(old: Results, fresh: Results): Results {
  for (const key of ['cpu', 'cores', 'kernel', 'node', 'redis'] as const) {
    if (old.machine[key] !== fresh.machine[key]) {
      throw new Error(
        `results of another machine cannot be merged: its ${key} is ${old.machine[key]}, not ${fresh.machine[key]}`,
      );
    }
  }
  const again = new Map(fresh.results.map((result) => [result.id, result]));
  const kept = old.results.map((result) => again.get(result.id) ?? result);
  const more = fresh.results.filter(({ id }) => !old.results.some((result) => result.id === id));
  return { machine: fresh.machine, results: [...kept, ...more] };
}
