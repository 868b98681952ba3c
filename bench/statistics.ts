/** The value below which a part of the numbers lies (nearest rank); NaN when there are none. */
export function percentile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

/** The middle one, or the mean of the two in the middle; NaN when there are none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  const upper = sorted[Math.floor(half)] ?? Number.NaN;
  return Number.isInteger(half) ? (upper + (sorted[half - 1] ?? Number.NaN)) / 2 : upper;
}

/** Each number over the one of the same round. */
export function ratios(numbers: readonly number[], baselines: readonly number[]): number[] {
  return numbers.map((number, round) => number / (baselines[round] ?? Number.NaN));
}

/**
 * Measures sides in turn, round by round, so that what the machine does meanwhile falls on all of them.
 * @returns a list of samples for each side
 */
export async function inTurn<Side extends string>(
  rounds: number,
  sides: Record<Side, () => Promise<number>>,
): Promise<Record<Side, number[]>> {
  const names = Object.keys(sides) as Side[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Side, number[]>;
  for (let round = 0; round < rounds; round++) {
    // The other way round every second time: nobody is always first.
    for (const name of round % 2 === 0 ? names : names.toReversed()) samples[name].push(await sides[name]());
  }
  return samples;
}
