import assert from 'node:assert/strict';

/** A load of every kind of task over HTTP, by producers and workers that go on until they are stopped. */
export class MixedLoad {
  /** Ids of tasks that were answered 201, in order. */
  readonly stored: string[] = [];
  /** The longest call, in ms, but for polls that wait. */
  longest = 0;
  #calls = 0;
  readonly #url: string;
  readonly #queues: readonly string[];
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(url: string, queues: readonly string[]) {
    this.#url = url;
    this.#queues = queues;
  }

  get calls(): number {
    return this.#calls;
  }

  start(producers: number, workers: number): void {
    this.#running = Promise.all([
      ...Array.from({ length: producers }, (_, index) => this.#produce(index)),
      ...Array.from({ length: workers }, (_, index) => this.#work(index)),
    ]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #call(path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const began = performance.now();
    const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const reply = await fetch(`${this.#url}${path}`, body === undefined ? {} : post);
    const answer: unknown = await reply.json();
    assert.ok(reply.status < 500, JSON.stringify(answer));
    this.longest = Math.max(this.longest, performance.now() - began);
    this.#calls += 1;
    return { status: reply.status, body: answer };
  }

  async #produce(producer: number): Promise<void> {
    for (let number = producer; !this.#stopped; number += 7) {
      const queue = this.#queues[number % this.#queues.length];
      const { status, body } = await this.#call('/tasks', { queue, payload: number, ...kindOf(number) });
      if (status === 201) this.stored.push((body as { id: string }).id);
    }
  }

  async #work(worker: number): Promise<void> {
    for (let turn = worker; !this.#stopped; turn++) {
      const queue = this.#queues[turn % this.#queues.length];
      const { body } = await this.#call(`/tasks/lease?queue=${queue}&waitMs=0&max=8&leaseMs=200`);
      const { tasks } = body as { tasks: { id: string; lease: { token: string } }[] };
      for (const [index, { id, lease }] of tasks.entries()) {
        const leaseToken = lease.token;
        switch ((turn + index) % 6) {
          case 0:
            await this.#call(`/tasks/${id}/nack`, { leaseToken, delayMs: index % 2 === 0 ? 30 : 0 });
            break;
          case 1:
            await this.#call(`/tasks/${id}/release`, { leaseToken });
            break;
          case 2:
            // Left to run out.
            break;
          default:
            await this.#call(`/tasks/${id}/ack`, { leaseToken, result: { index } });
        }
      }
    }
  }
}

/** What more there is to a task. */
function kindOf(number: number): Record<string, unknown> {
  switch (number % 8) {
    case 0:
      return { groupKey: `g${number % 3}` };
    case 1:
      return { delayMs: number % 50 };
    case 2:
      return { ttlMs: 100 + (number % 300) };
    case 3:
      return { unique: { key: `u${number % 20}`, onConflict: 'replace' } };
    case 4:
      return { priority: number % 10, maxAttempts: 1 };
    case 5:
      return { retentionMs: 100 };
    default:
      return {};
  }
}
