import { cpuMs } from '../process/usage.ts';
import type { Load } from './agent.ts';

/** How much of one core a load generator takes: near all of it, and it is the load that is measured. */
export class LoadShare {
  readonly #pid: number;
  #most = 0;

  constructor(load: Load) {
    this.#pid = load.process.pid;
  }

  /** Notes what a piece of the load's work takes, and answers what the work answers. */
  async during<Done extends { ms: number }>(work: () => Promise<Done>): Promise<Done> {
    const before = cpuMs(this.#pid);
    const done = await work();
    this.#most = Math.max(this.#most, (100 * (cpuMs(this.#pid) - before)) / done.ms);
    return done;
  }

  /** One line for the report. */
  words(): string {
    return `the load generator took at most ${this.#most.toFixed(0)} % of a core`;
  }
}
