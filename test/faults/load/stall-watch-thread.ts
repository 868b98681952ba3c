/** A thread that does nothing but look at the clock: when it cannot do that in time, the machine stands still. Tells its parent. */
import { parentPort } from 'node:worker_threads';

const EVERY_MS = 25;
/** Shorter ones hold nothing up that is judged. */
const LEAST_MS = 250;

let last = Date.now();
setInterval(() => {
  const now = Date.now();
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- it is a port, not a window
  if (now - last > LEAST_MS) parentPort?.postMessage({ from: last, to: now });
  last = now;
}, EVERY_MS);
