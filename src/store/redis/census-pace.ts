/** Timers are no finer than this, in ms: shorter rests are taken together. */
const LEAST_REST_MS = 2;
/** No rest is longer than this, in ms. */
const MAX_REST_MS = 100;

/** The pace of a census: it rests as long as its steps take, so that whoever works meanwhile waits for a few steps at most. */
export class CensusPace {
  #owed = 0;

  async step<Result>(run: () => Promise<Result>): Promise<Result> {
    const began = performance.now();
    const result = await run();
    this.#owed += performance.now() - began;
    if (this.#owed >= LEAST_REST_MS) {
      const rest = Math.min(this.#owed, MAX_REST_MS);
      this.#owed = 0;
      await new Promise<void>((rested) => {
        setTimeout(rested, rest);
      });
    }
    return result;
  }
}
