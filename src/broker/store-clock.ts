/** The store's clock between two replies: what it last said, carried forward by this process's monotonic clock. */
export class StoreClock {
  #offset = Date.now() - performance.now();

  /** Takes over the `now` of a store's reply. */
  heard(now: number): void {
    this.#offset = now - performance.now();
  }

  /** Ms since the epoch, as the store would say. */
  now(): number {
    return Math.floor(performance.now() + this.#offset);
  }
}
