/** What is tried again later, shard by shard: at most one try of each is ahead, however many ask for one. */
export class Retries {
  readonly #again: (shard: number) => void;
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #closed = false;

  constructor(again: (shard: number) => void) {
    this.#again = again;
  }

  /** Has the shard tried again after this time, unless that is going to happen anyway. */
  later(shard: number, ms: number): void {
    if (this.#closed || this.#timers.has(shard)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(shard);
      this.#again(shard);
    }, ms);
    timer.unref();
    this.#timers.set(shard, timer);
  }

  /** The shard is being tried now, for another reason. */
  forget(shard: number): void {
    clearTimeout(this.#timers.get(shard));
    this.#timers.delete(shard);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
