import { hash } from 'node:crypto';

/**
 * A number in [0, 1) that depends on the seed and on what it is drawn for, and on nothing that happened before: whatever order things
 * happen in, a run with the same seed decides the same for the same task.
 */
export function draw(seed: number, ...what: readonly (string | number)[]): number {
  return Number.parseInt(hash('sha256', `${seed} ${what.join(' ')}`).slice(0, 12), 16) / 2 ** 48;
}

/** The whole number from `from` up to, and without, `to` that is drawn. */
export function drawWhole(from: number, to: number, seed: number, ...what: readonly (string | number)[]): number {
  return from + Math.floor(draw(seed, ...what) * (to - from));
}
