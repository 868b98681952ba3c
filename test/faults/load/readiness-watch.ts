import { setTimeout as sleep } from 'node:timers/promises';
import type { Event } from '../history/event.ts';
import { HttpClient, NoReply } from './http-client.ts';

const EVERY_MS = 100;
/** A broker that says nothing for so long is as good as one that is not ready. */
const TIMEOUT_MS = 1000;

/** Asks brokers all the time whether they are ready, as a load balancer would, and writes down what they say. */
export class ReadinessWatch {
  readonly #http = new HttpClient();
  readonly #urls: readonly string[];
  readonly #write: (event: Event) => void;
  #stopped = false;
  #running: readonly Promise<void>[] = [];

  constructor(urls: readonly string[], write: (event: Event) => void) {
    this.#urls = urls;
    this.#write = write;
  }

  start(): void {
    this.#running = this.#urls.map((url) => this.#watch(url));
  }

  /** May be called again. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
    this.#http.close();
  }

  async #watch(url: string): Promise<void> {
    while (!this.#stopped) {
      const askedAt = Date.now();
      const ready = await this.#http.call('GET', `${url}/readyz`, undefined, { timeoutMs: TIMEOUT_MS }).then(
        ({ status }) => status === 200,
        (error: unknown) => {
          if (error instanceof NoReply) return false;
          throw error;
        },
      );
      this.#write({ kind: 'readiness', via: url, askedAt, ready });
      await sleep(EVERY_MS);
    }
  }
}
