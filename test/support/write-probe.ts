import { setImmediate as turn } from 'node:timers/promises';
import { connect } from './redis-admin.ts';

/** Writes a key again and again to whichever of some servers takes it, and measures for how long none did. */
export class WriteProbe {
  readonly #probing: Promise<void>;
  #going = true;
  #longest = 0;

  constructor(ports: readonly number[], key: string) {
    this.#probing = this.#probe(ports, key);
  }

  /** @returns the longest time in ms between two writes that were taken */
  async stop(): Promise<number> {
    this.#going = false;
    await this.#probing;
    return this.#longest;
  }

  async #probe(ports: readonly number[], key: string): Promise<void> {
    const clients = ports.map(connect);
    await Promise.all(clients.map((client) => client.connect()));
    let last = performance.now();
    while (this.#going) {
      const taken = await Promise.any(clients.map((client) => client.set(key, ''))).catch(() => null);
      const now = performance.now();
      this.#longest = Math.max(this.#longest, now - last);
      if (taken !== null) last = now;
      await turn();
    }
    await Promise.any(clients.map((client) => client.del(key)));
    for (const client of clients) client.disconnect();
  }
}
