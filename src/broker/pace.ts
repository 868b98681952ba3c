/** No rest is longer than this, in ms. */
const MAX_REST_MS = 100;

/**
 * The pace of work that is too much for one step: a purge, a redrive of many. Its steps, whatever they are for, are done one at a
 * time, and after each comes a rest as long as the step took, in which everybody else is served.
 */
export class Pace {
  #last: Promise<void> = Promise.resolve();

  /** Runs a step when its turn has come; answers after the rest. */
  async step<Result>(run: () => Promise<Result>): Promise<Result> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    await before;
    const began = performance.now();
    try {
      return await run();
    } finally {
      const rest = Math.min(performance.now() - began, MAX_REST_MS);
      await new Promise<void>((rested) => {
        setTimeout(rested, rest);
      });
      resolve();
    }
  }
}
