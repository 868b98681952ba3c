import { setTimeout as sleep } from 'node:timers/promises';
import type { Posted } from '../history/event.ts';
import { draw, drawWhole } from './draw.ts';
import type { LessorClient } from './lessor-client.ts';
import { MAX_ATTEMPTS, QUEUES } from './queues.ts';
import { payloadHash, payloadOf } from './wire.ts';

/** How much there is to do. */
export interface Pace {
  /** Between two posts of a producer, on average. */
  pauseMs: number;
  /** Tasks of one post or one lease at most. */
  most: number;
  /** Tasks that are posted for each fault, on average: between faults the load goes on until it has posted so many. */
  tasksPerFault: number;
}

export interface ProducerOptions {
  client: LessorClient;
  name: string;
  seed: number;
  pace: Pace;
}

/** Posts tasks one after the other, some of them in batches, until it is stopped. Waits for each call to be known. */
export class Producer {
  readonly #options: ProducerOptions;
  #stopped = false;
  #running: Promise<void> | null = null;
  #posted = 0;

  constructor(options: ProducerOptions) {
    this.#options = options;
  }

  get posted(): number {
    return this.#posted;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { client, name, seed, pace } = this.#options;
    for (let step = 0; !this.#stopped; step++) {
      const size = draw(seed, name, step, 'size') < 0.3 ? drawWhole(2, pace.most + 1, seed, name, step, 'many') : 1;
      const queue = QUEUES[drawWhole(0, QUEUES.length, seed, name, step, 'queue')] ?? QUEUES[0];
      const tasks = Array.from({ length: size }, (_, index) => newTask(seed, `${name}-${step}-${index}`, queue));
      const stored = await client.enqueue(tasks);
      this.#posted += size;
      for (const { task, mark, deduplicated } of stored ?? []) {
        const fate = draw(seed, mark, 'cancel');
        if (!deduplicated && fate < 0.03) await client.cancel(task, fate < 0.01);
      }
      await sleep(2 * pace.pauseMs * draw(seed, name, step, 'pause'));
    }
  }
}

function newTask(seed: number, mark: string, queue: (typeof QUEUES)[number]): Posted {
  const kind = draw(seed, mark, 'kind');
  const limited = queue === 'limited';
  return {
    mark,
    hash: payloadHash(payloadOf(mark)),
    queue,
    delayMs: kind < 0.1 ? drawWhole(10, 600, seed, mark, 'delay') : 0,
    ttlMs: limited && kind > 0.8 ? drawWhole(400, 4000, seed, mark, 'ttl') : null,
    maxAttempts: kind > 0.4 && kind < 0.5 ? 2 : MAX_ATTEMPTS,
    groupKey: queue === 'grouped' ? `g${drawWhole(0, 12, seed, mark, 'group')}` : null,
    unique: limited && kind > 0.2 && kind < 0.3 ? `u${drawWhole(0, 20, seed, mark, 'unique')}` : null,
  };
}
