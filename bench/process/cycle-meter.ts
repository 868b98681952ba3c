import { setTimeout as sleep } from 'node:timers/promises';

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
  /** CPU that it uses while nothing is asked of it, in ms per ms. */
  #idle = 0;

  constructor(metered: Metered) {
    this.#metered = metered;
  }

  /** Learns what the process uses idle: {@link perCycle} does not charge cycles for the time in which it waits. */
  async learnIdle(ms: number): Promise<void> {
    const before = await this.#metered.cpuMs();
    const start = performance.now();
    await sleep(ms);
    this.#idle = ((await this.#metered.cpuMs()) - before) / (performance.now() - start);
  }

  /** CPU per cycle of the work, in µs. */
  async perCycle(work: () => Promise<{ cycles: number }>): Promise<number> {
    const before = await this.#metered.cpuMs();
    const { cycles } = await work();
    const waitedFrom = performance.now();
    await this.#metered.settled?.();
    const idle = this.#idle * (performance.now() - waitedFrom);
    return (1000 * ((await this.#metered.cpuMs()) - before - idle)) / cycles;
  }
}
