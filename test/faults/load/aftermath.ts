import type { Event } from '../history/event.ts';
import { HttpClient } from './http-client.ts';
import { QUEUES } from './queues.ts';
import { until } from '../../support/until.ts';
import { toFound } from './wire.ts';

const TIMEOUT_MS = 10_000;
const PAGE = 100;
const STATES = ['ready', 'scheduled', 'blocked', 'completed', 'dead', 'cancelled', 'expired'];

/** What is looked at once the faults are healed and the load has stopped posting. Calls are made until they are answered. */
export class Aftermath {
  readonly #http = new HttpClient();
  readonly #base: string;
  readonly #write: (event: Event) => void;

  /** @param base of any broker */
  constructor(base: string, write: (event: Event) => void) {
    this.#base = base;
    this.#write = write;
  }

  /** Resolves when nothing waits or runs any more. Workers must be at work. */
  async drained(timeoutMs: number): Promise<void> {
    await until(
      async () => {
        const stats = await Promise.all(QUEUES.map((queue) => this.#get(`/queues/${queue}/stats`)));
        return stats.every(({ ready, scheduled, blocked, leased }) => ready + scheduled + blocked + leased === 0);
      },
      { timeoutMs, what: 'all queues drained' },
    );
    this.#write({ kind: 'drained' });
  }

  /** Writes down every task and every counter, as they are at rest. */
  async census(): Promise<void> {
    for (const queue of QUEUES) {
      let cursor: string | null = null;
      do {
        const from: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const page = await this.#get(`/tasks?queue=${queue}&view=full&order=oldest&limit=${PAGE}${from}`);
        for (const task of page.tasks) this.#write({ kind: 'found', found: toFound(task) });
        cursor = page.nextCursor;
      } while (cursor !== null);
      const { counts, totals } = await this.#get(`/queues/${queue}`);
      this.#write({ kind: 'counts', queue, counts: { states: counts, totals } });
    }
  }

  /** Deletes all tasks and queues. */
  async clear(): Promise<void> {
    for (const queue of QUEUES) {
      await this.#call('POST', `/queues/${queue}/purge`, { states: STATES });
      await this.#call('DELETE', `/queues/${queue}?force=true`, undefined);
    }
  }

  close(): void {
    this.#http.close();
  }

  #get(path: string) {
    return this.#call('GET', path, undefined);
  }

  async #call(method: string, path: string, body: unknown) {
    const reply = await this.#http.insist(method, `${this.#base}${path}`, body, { timeoutMs: TIMEOUT_MS });
    const gone = reply.again && method === 'DELETE' && reply.status === 404;
    if (reply.status >= 300 && !gone)
      throw new Error(`${method} ${path} after the drain: ${reply.status} ${JSON.stringify(reply.body)}`);
    return reply.body;
  }
}
