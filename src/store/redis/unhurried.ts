/** No rest is longer than this, in ms. */
const MAX_REST_MS = 100;

/** Runs a step of a census and rests for as long as it took, so that whoever works meanwhile waits for one step at most. */
export async function unhurried<Result>(step: () => Promise<Result>): Promise<Result> {
  const began = performance.now();
  const result = await step();
  const rest = Math.min(performance.now() - began, MAX_REST_MS);
  await new Promise<void>((rested) => {
    setTimeout(rested, rest);
  });
  return result;
}
