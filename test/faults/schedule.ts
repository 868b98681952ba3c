import type { HomeName } from './homes/home.ts';
import type { Fault } from './injector/fault.ts';
import { draw } from './load/draw.ts';
import type { Dose } from './round.ts';

/** Every fault of a home `times` times, or half as often where it is slow, in an order that the seed draws. */
export function scheduleOf(home: HomeName, faults: readonly Fault[], times: number, seed: number, first = 1): Dose[] {
  const own = faults.filter(({ homes }) => homes.includes(home));
  const doses = own.flatMap((fault) =>
    Array.from({ length: Math.ceil(fault.slow ? times / 2 : times) }, (_, index) => ({ fault, dose: first + index })),
  );
  return doses.sort((a, b) => placeOf(seed, a) - placeOf(seed, b));
}

function placeOf(seed: number, { fault, dose }: Dose): number {
  return draw(seed, 'schedule', fault.name, dose);
}
