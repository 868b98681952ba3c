import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { HttpSocket, type SocketReply } from './http-socket.ts';
import { until } from './until.ts';

const QUEUES = 24;
const PRODUCERS = 6;
const WORKERS = 24;
const LEASE_MS = 600_000;
/** A client whose call failed asks again after this, and a producer rests for as long. */
const RETRY_MS = 10;

/**
 * Producers and workers that go through real brokers, each call made again until it succeeds: with the same idempotency key, request
 * id or token. Nobody may hear anything but success or a 503 that says so.
 */
export class HttpLoad {
  readonly #ports: readonly number[];
  readonly #sockets: HttpSocket[] = [];
  readonly #failures: unknown[] = [];
  readonly #clients: Promise<void>[] = [];
  readonly #run = Math.random().toString(36).slice(2);
  #pouring = true;
  #working = true;
  #closing = false;
  readonly stored = new Set<string>();
  /** How often each task was acknowledged under a lease. */
  readonly done = new Map<string, number>();
  /** Calls that were answered 503. */
  unavailable = 0;
  calls = 0;
  longestMs = 0;

  constructor(ports: readonly number[]) {
    this.#ports = ports;
  }

  async start(): Promise<void> {
    for (let at = 0; at < PRODUCERS; at++) this.#join(this.#pour(await this.#open(at), at));
    for (let at = 0; at < WORKERS; at++) this.#join(this.#work(await this.#open(at), at));
  }

  /** Resolves when so many more tasks have gone through. */
  async flows(more = 300): Promise<void> {
    const from = this.done.size;
    await until(
      () => {
        assert.deepEqual(this.#failures, []);
        return this.done.size >= from + more;
      },
      { what: 'tasks go through', timeoutMs: 20_000 },
    );
  }

  /** Ends the producers, waits for the last task, and compares with what the queues say of themselves. */
  async finish(): Promise<string> {
    this.#pouring = false;
    await Promise.all(this.#clients.slice(0, PRODUCERS));
    const judge = await this.#open(0);
    await until(
      () => {
        assert.deepEqual(this.#failures, []);
        return this.done.size >= this.stored.size;
      },
      { what: 'every task is acknowledged', timeoutMs: 30_000 },
    );
    this.#working = false;
    await Promise.all(this.#clients);
    const words = `${this.stored.size} tasks; ${this.unavailable} of ${this.calls} calls were answered 503, the longest took ${Math.round(this.longestMs)} ms`;
    assert.deepEqual([...this.done.keys()].sort(), [...this.stored].sort(), 'what was stored is what was done');
    assert.ok(
      [...this.done.values()].every((times) => times === 1),
      'each task once',
    );
    const all = this.stored.size;
    const totals = async (name: string): Promise<number> => this.#sum(judge, (queue) => Number(queue.totals[name]));
    assert.deepEqual([await totals('enqueued'), await totals('acked'), await totals('expired')], [all, all, 0]);
    assert.equal((await totals('leased')) - (await totals('released')), all);
    const counts = async (name: string): Promise<number> => this.#sum(judge, (queue) => Number(queue.counts[name]));
    assert.deepEqual([await counts('ready'), await counts('leased'), await counts('completed')], [0, 0, all]);
    return words;
  }

  close(): void {
    this.#closing = true;
    this.#pouring = false;
    this.#working = false;
    for (const socket of this.#sockets) socket.close();
  }

  // oxlint-disable-next-line typescript/no-explicit-any -- the shape of a reply is what the tests look at
  async #sum(judge: HttpSocket, value: (queue: any) => number): Promise<number> {
    let sum = 0;
    for (let queue = 0; queue < QUEUES; queue++) {
      const { body } = await this.#insist(() => judge.request('GET', `/queues/${this.#queue(queue)}`));
      sum += value(body);
    }
    return sum;
  }

  #queue(number: number): string {
    return `${this.#run}-${number % QUEUES}`;
  }

  async #open(at: number): Promise<HttpSocket> {
    const socket = await HttpSocket.open(this.#ports[at % this.#ports.length] ?? 0);
    this.#sockets.push(socket);
    return socket;
  }

  #join(client: Promise<void>): void {
    this.#clients.push(
      client.catch((error: unknown) => {
        if (!this.#closing) this.#failures.push(error);
      }),
    );
  }

  async #insist(asked: () => Promise<SocketReply>): Promise<SocketReply> {
    for (;;) {
      const begun = performance.now();
      const reply = await asked();
      this.calls++;
      this.longestMs = Math.max(this.longestMs, performance.now() - begun);
      if (reply.status < 300) return reply;
      assert.deepEqual(
        [reply.status, reply.body.code, reply.body.retryable],
        [503, 'store_unavailable', true],
        JSON.stringify(reply.body),
      );
      assert.match(reply.head, /\r\ncontent-type: application\/problem\+json\r\n/);
      assert.match(reply.head, /\r\nretry-after: \d+\r\n/);
      assert.doesNotMatch(JSON.stringify(reply.body), /MOVED|ASK|READONLY|CLUSTERDOWN|TRYAGAIN|CROSSSLOT|127\.0\.0\.1/);
      this.unavailable++;
      await pause(RETRY_MS);
    }
  }

  async #pour(socket: HttpSocket, producer: number): Promise<void> {
    let number = 0;
    while (this.#pouring) {
      number++;
      const queue = this.#queue(producer + number);
      const tasks = [{ queue, idempotencyKey: `${this.#run}-${producer}-${number}` }];
      const { body } = await this.#insist(() => socket.request('POST', '/tasks/batch', { tasks }));
      this.stored.add(body.tasks[0].id);
      await pause(RETRY_MS);
    }
  }

  async #work(socket: HttpSocket, worker: number): Promise<void> {
    const queue = this.#queue(worker);
    let number = 0;
    while (this.#working) {
      number++;
      const requestId = `${this.#run}-${worker}-${number}`;
      const path = `/tasks/lease?queue=${queue}&waitMs=500&leaseMs=${LEASE_MS}&requestId=${requestId}`;
      const { tasks } = (await this.#insist(() => socket.request('GET', path))).body;
      for (const { id, attempt, lease } of tasks) {
        assert.equal(attempt, 1);
        await this.#insist(() => socket.request('POST', `/tasks/${id}/ack`, { leaseToken: lease.token }));
        this.done.set(id, (this.done.get(id) ?? 0) + 1);
      }
    }
  }
}
