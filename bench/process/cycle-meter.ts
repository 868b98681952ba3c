/** What is metered. */
export interface Metered {
  /** CPU time that it has used so far, in ms. */
  cpuMs: () => number | Promise<number>;
  /** Resolves when it has done all that the cycles so far lead to, such as pruning; at once when left out. */
  settled?: () => Promise<void>;
}

/** Measures what full cycles cost a process in CPU, with what has to be done about them afterwards. */
export class CycleMeter {
  readonly #metered: Metered;
  readonly #clock: () => number;
  /** CPU that it uses while nothing is asked of it, in ms per ms. */
  #idle = 0;

  constructor(metered: Metered, clock = (): number => performance.now()) {
    this.#metered = metered;
    this.#clock = clock;
  }

  /**
   * Learns what the process uses idle, which it is for as long as `wait` takes: {@link perCycle} does not charge
   * cycles for that while it waits.
   */
  async learnIdle(wait: () => Promise<unknown>): Promise<void> {
    const before = await this.#metered.cpuMs();
    const start = this.#clock();
    await wait();
    this.#idle = ((await this.#metered.cpuMs()) - before) / (this.#clock() - start);
  }

  /** CPU per cycle of the work, in µs. */
  async perCycle(work: () => Promise<{ cycles: number }>): Promise<number> {
    const before = await this.#metered.cpuMs();
    const { cycles } = await work();
    const waitedFrom = this.#clock();
    await this.#metered.settled?.();
    const idle = this.#idle * (this.#clock() - waitedFrom);
    return (1000 * ((await this.#metered.cpuMs()) - before - idle)) / cycles;
  }
}
