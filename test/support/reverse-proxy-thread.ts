/** The proxy on a thread of its own, so that what else its process does cannot hold it up. Tells its parent the URL. */
import { parentPort, workerData } from 'node:worker_threads';
import { startReverseProxy } from './reverse-proxy.ts';

const proxy = await startReverseProxy(workerData);
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- it is a port, not a window
parentPort?.postMessage(proxy.url);
