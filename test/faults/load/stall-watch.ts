import { Worker } from 'node:worker_threads';
import type { Event, Stall } from '../history/event.ts';

/** Writes down when the machine stands still, which no broker can do anything about. */
export class StallWatch {
  readonly #thread = new Worker(new URL('stall-watch-thread.ts', import.meta.url));

  constructor(write: (event: Event) => void) {
    this.#thread.on('message', (stall: Stall) => write({ kind: 'stall', ...stall }));
  }

  async stop(): Promise<void> {
    await this.#thread.terminate();
  }
}
