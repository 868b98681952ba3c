import { setTimeout as sleep } from 'node:timers/promises';
import type { Granted, Verb } from '../history/event.ts';
import { draw, drawWhole } from './draw.ts';
import type { LessorClient } from './lessor-client.ts';
import { LEASE_MS, QUEUES } from './queues.ts';

const WAIT_MS = 600;

export interface WorkerOptions {
  client: LessorClient;
  name: string;
  seed: number;
  /** Tasks of one lease at most. */
  most: number;
  /** Told of the queues of each reply that granted something. */
  onGranted?: (queues: ReadonlySet<string>) => void;
}

/**
 * Leases tasks and does to each what the seed has drawn for it: most are acknowledged, some fail, are given back, forgotten, or held for
 * longer than a lease under heartbeats. Once it is told to hurry it acknowledges everything at once.
 */
export class Worker {
  readonly #options: WorkerOptions;
  #hurries = false;
  #stopped = false;
  #running: Promise<void> | null = null;
  /** Tasks that are held for longer, beside which others are worked on. */
  readonly #held = new Set<Promise<void>>();

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  hurry(): void {
    this.#hurries = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    await Promise.all(this.#held);
  }

  async #run(): Promise<void> {
    const { client, name, seed, most } = this.#options;
    for (let step = 0; !this.#stopped; step++) {
      const max = draw(seed, name, step, 'max') < 0.4 ? drawWhole(2, most + 1, seed, name, step, 'many') : 1;
      const first = drawWhole(0, QUEUES.length, seed, name, step, 'queue');
      const queues = QUEUES.map((_, index) => QUEUES[(first + index) % QUEUES.length] ?? QUEUES[0]);
      const grants = await client.lease({
        queues,
        max,
        leaseMs: LEASE_MS,
        waitMs: WAIT_MS,
        requestId: draw(seed, name, step, 'named') < 0.7 ? `${name}-${step}` : null,
        workerId: name,
        byPost: draw(seed, name, step, 'post') < 0.3,
      });
      await this.#workOn(grants);
    }
  }

  async #workOn(grants: readonly Granted[]): Promise<void> {
    if (grants.length > 0) this.#options.onGranted?.(new Set(grants.map(({ queue }) => queue)));
    if (grants.length > 1 && draw(this.#options.seed, grants[0]?.mark ?? '', 'together') < 0.5)
      await this.#together(grants);
    else await Promise.all(grants.map((grant) => this.#alone(grant)));
  }

  /** Settles all of them in one call. */
  async #together(grants: readonly Granted[]): Promise<void> {
    const items = grants.flatMap((grant) => {
      const fate = this.#fate(grant);
      return fate === 'forget' ? [] : [this.#verb(grant, fate === 'nack' || fate === 'release' ? fate : 'ack')];
    });
    if (items.length > 0) await this.#options.client.settleMany(items);
  }

  async #alone(grant: Granted): Promise<void> {
    const { client, seed } = this.#options;
    const fate = this.#fate(grant);
    const { mark, fence } = grant;
    if (!this.#hurries) await sleep(drawWhole(0, 20, seed, mark, fence, 'work'));
    switch (fate) {
      case 'forget':
        return;
      case 'hold':
        this.#aside(this.#hold(grant));
        return;
      case 'late':
        this.#aside(this.#ackLate(grant));
        return;
      case 'next': {
        const { next } = await client.settle(this.#verb(grant, 'ack'), {
          max: drawWhole(1, 4, seed, mark, 'next'),
          leaseMs: LEASE_MS,
        });
        await this.#workOn(next);
        return;
      }
      default:
        await client.settle(this.#verb(grant, fate));
    }
  }

  #aside(work: Promise<void>): void {
    this.#held.add(work);
    void work.finally(() => this.#held.delete(work));
  }

  async #ackLate(grant: Granted): Promise<void> {
    const { client, seed } = this.#options;
    await sleep(Math.max(0, grant.deadline - Date.now()) + drawWhole(1, 40, seed, grant.mark, 'late'));
    await client.settle(this.#verb(grant, 'ack'));
  }

  /** Works for longer than a lease and says so all the time. */
  async #hold(grant: Granted): Promise<void> {
    const { client } = this.#options;
    const { task, token } = grant;
    for (let beat = 0; beat < 5 && !this.#hurries; beat++) {
      await sleep(LEASE_MS / 3);
      const { settled } = await client.settle({ verb: 'heartbeat', task, token, leaseMs: LEASE_MS });
      if (settled === null) return;
    }
    await client.settle(this.#verb(grant, 'ack'));
  }

  #fate({ mark, fence }: Granted): 'ack' | 'nack' | 'release' | 'next' | 'hold' | 'late' | 'forget' {
    const drawn = draw(this.#options.seed, mark, fence, 'fate');
    if (this.#hurries) return 'ack';
    if (drawn < 0.08) return 'nack';
    if (drawn < 0.14) return 'release';
    if (drawn < 0.17) return 'hold';
    if (drawn < 0.19) return 'late';
    if (drawn < 0.21) return 'forget';
    return drawn < 0.5 ? 'next' : 'ack';
  }

  #verb({ task, token, mark, fence }: Granted, verb: 'ack' | 'nack' | 'release'): Verb {
    const { seed, name } = this.#options;
    if (verb === 'ack') return { verb, task, token, result: `${name}/${fence}` };
    const drawn = draw(seed, mark, fence, 'delay');
    const delay = drawn < 0.5 ? {} : { delayMs: drawn < 0.7 ? 0 : drawWhole(20, 300, seed, mark, fence, 'wait') };
    if (verb === 'release') return { verb, task, token, ...delay };
    return { verb, task, token, ...delay, retryable: draw(seed, mark, fence, 'final') > 0.06 };
  }
}
