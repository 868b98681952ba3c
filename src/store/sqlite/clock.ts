/**
 * A clock in whole ms that never goes back, whatever the host's does: a lease granted later never ends earlier,
 * and tasks of a queue finish in the order in which they are listed.
 */
export function monotonicClock(clock: () => number): () => number {
  let last = 0;
  return () => {
    last = Math.max(last, Math.floor(clock()));
    return last;
  };
}
