/**
 * Ends waits on time with one timer for all of them. Deadlines are rounded up to a grain, so that thousands
 * of waits that end at about the same time cost one wake-up.
 */
export class WaitLine<Item> {
  readonly #grainMs: number;
  readonly #onEnd: (item: Item) => void;
  readonly #slots = new Map<number, Set<Item>>();
  #timer: NodeJS.Timeout | undefined;
  #timerSlot = Number.POSITIVE_INFINITY;

  constructor(grainMs: number, onEnd: (item: Item) => void) {
    this.#grainMs = grainMs;
    this.#onEnd = onEnd;
  }

  /** Ends the wait after `waitMs`, never earlier. Answers the slot, which `leave` needs. */
  enter(item: Item, waitMs: number): number {
    const slot = Math.ceil((performance.now() + waitMs) / this.#grainMs);
    const items = this.#slots.get(slot);
    if (items) items.add(item);
    else this.#slots.set(slot, new Set([item]));
    if (slot < this.#timerSlot) this.#arm(slot);
    return slot;
  }

  leave(item: Item, slot: number): void {
    const items = this.#slots.get(slot);
    if (items?.delete(item) && items.size === 0) this.#slots.delete(slot);
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
        for (const item of items) this.#onEnd(item);
      } else next = Math.min(next, slot);
    }
    if (next < this.#timerSlot && next !== Number.POSITIVE_INFINITY) this.#arm(next);
  }
}
