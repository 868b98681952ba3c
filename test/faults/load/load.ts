import { join } from 'node:path';
import { HistoryWriter } from '../history/history-writer.ts';
import { LessorClient } from './lessor-client.ts';
import { type Pace, Producer } from './producer.ts';
import { Worker } from './worker.ts';
import { WorkerPool } from './worker-pool.ts';

export interface LoadOptions {
  urls: readonly string[];
  dir: string;
  seed: number;
  producers: number;
  workers: number;
  /** Workers that are processes of their own. */
  processes: number;
  pace: Pace;
}

/** Producers and workers, some in this process and some in others, with the history that they write. */
export class Load {
  readonly pool: WorkerPool;
  /** Of this process; the others have their own. */
  readonly history: HistoryWriter;
  readonly #options: LoadOptions;
  readonly #producers: Producer[];
  readonly #workers: Worker[];
  readonly #clients: LessorClient[] = [];
  readonly #served = new Map<string, number>();

  constructor(options: LoadOptions) {
    const { urls, dir, seed, producers, workers, pace } = options;
    this.#options = options;
    this.history = new HistoryWriter('main', join(dir, 'main.jsonl'));
    this.pool = new WorkerPool({ urls, dir, seed, most: pace.most });
    this.#producers = Array.from({ length: producers }, (_, index) => {
      const name = `p${index + 1}`;
      return new Producer({ client: this.#client(name, index), name, seed, pace });
    });
    this.#workers = Array.from({ length: workers }, (_, index) => {
      const name = `m${index + 1}`;
      return new Worker({
        client: this.#client(name, index),
        name,
        seed,
        most: pace.most,
        onGranted: (queues) => {
          for (const queue of queues) this.#served.set(queue, this.servedOf(queue) + 1);
        },
      });
    });
  }

  get posted(): number {
    return this.#producers.reduce((sum, { posted }) => sum + posted, 0);
  }

  /** How many replies have granted something of a queue to workers of this process. */
  servedOf(queue: string): number {
    return this.#served.get(queue) ?? 0;
  }

  async start(): Promise<void> {
    await this.pool.start(this.#options.processes);
    for (const worker of this.#workers) worker.start();
    for (const producer of this.#producers) producer.start();
  }

  /** Resolves when every post has become known. */
  async stopProducers(): Promise<void> {
    await Promise.all(this.#producers.map((producer) => producer.stop()));
  }

  /** From now on workers finish whatever they get. */
  hurry(): void {
    this.pool.hurry();
    for (const worker of this.#workers) worker.hurry();
  }

  async stopWorkers(): Promise<void> {
    await Promise.all([this.pool.stop(), ...this.#workers.map((worker) => worker.stop())]);
    for (const client of this.#clients) client.close();
  }

  /** Closes the history of this process. @returns the histories of all processes, whole */
  close(): readonly string[] {
    this.history.close();
    return [this.history.path, ...this.pool.histories];
  }

  #client(name: string, turn: number): LessorClient {
    const client = new LessorClient({ urls: () => this.#options.urls, history: this.history, name, turn });
    this.#clients.push(client);
    return client;
  }
}
