/** Loaded before a broker (--import): its wall clock is off by `?by=` ms. Its monotonic clock, which timers use, is not. */
const by = Number(new URL(import.meta.url).searchParams.get('by'));
const RealDate = Date;

class ShiftedDate extends RealDate {
  constructor(...given: readonly [] | readonly [number | string | Date]) {
    if (given.length === 0) super(RealDate.now() + by);
    else super(given[0]);
  }

  static override now(): number {
    return RealDate.now() + by;
  }
}

Object.defineProperty(globalThis, 'Date', { value: ShiftedDate });
