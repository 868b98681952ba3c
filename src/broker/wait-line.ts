import { Fifo, type Place } from './fifo.ts';

/** When a wait ends. */
export interface Slot<Item> {
  readonly number: number;
  readonly place: Place<Item>;
}

/**
 * Ends waits on time with one timer for all of them. Deadlines are rounded up to a grain, so that thousands
 * of waits that end at about the same time cost one wake-up.
 */
export class WaitLine<Item> {
  readonly #grainMs: number;
  readonly #onEnd: (item: Item) => void;
  readonly #slots = new Map<number, Fifo<Item>>();
  #timer: NodeJS.Timeout | undefined;
  #timerSlot = Number.POSITIVE_INFINITY;

  constructor(grainMs: number, onEnd: (item: Item) => void) {
    this.#grainMs = grainMs;
    this.#onEnd = onEnd;
  }

  /** Ends the wait after `waitMs`, never earlier. Answers the slot, which `leave` needs. */
  enter(item: Item, waitMs: number): Slot<Item> {
    const number = Math.ceil((performance.now() + waitMs) / this.#grainMs);
    let items = this.#slots.get(number);
    if (!items) {
      items = new Fifo();
      this.#slots.set(number, items);
    }
    if (number < this.#timerSlot) this.#arm(number);
    return { number, place: items.enter(item) };
  }

  /** Changes nothing for a wait that has ended. */
  leave({ number, place }: Slot<Item>): void {
    const { line } = place;
    if (line.leave(place) && line.size === 0) this.#slots.delete(number);
  }

  #arm(slot: number): void {
    clearTimeout(this.#timer);
    this.#timerSlot = slot;
    this.#timer = setTimeout(() => this.#end(), Math.max(0, slot * this.#grainMs - performance.now()));
    this.#timer.unref();
  }

  #end(): void {
    this.#timerSlot = Number.POSITIVE_INFINITY;
    const now = performance.now() / this.#grainMs;
    let next = Number.POSITIVE_INFINITY;
    // A slot is at most a wait's length ahead, so there are few of them, however many waits there are.
    for (const [slot, items] of [...this.#slots]) {
      if (slot <= now) {
        this.#slots.delete(slot);
        for (let item = items.shift(); item !== undefined; item = items.shift()) this.#onEnd(item);
      } else next = Math.min(next, slot);
    }
    if (next < this.#timerSlot && next !== Number.POSITIVE_INFINITY) this.#arm(next);
  }
}
