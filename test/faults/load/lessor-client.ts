import { setTimeout as sleep } from 'node:timers/promises';
import type { Granted, Posted, Reply, Request, Settled, Stored, Verb } from '../history/event.ts';
import type { HistoryWriter } from '../history/history-writer.ts';
import { HttpClient, type HttpReply, NoReply, REPEAT } from './http-client.ts';
import { toGranted, toSettled, toWire, verbBody } from './wire.ts';

/** What a broker may take beyond the wait that was asked for: a frozen store is told of within that time. */
const ANSWERED_WITHIN_MS = 5000;
/** What a client waits beyond that. */
const PATIENCE_MS = 1000;

/** What became of a call that was repeated until that was known. */
type Known = Reply | { op: 'refused'; code: string };

interface Http {
  method: string;
  path: string;
  body: unknown;
  headers?: Record<string, string>;
  read(reply: HttpReply): Reply;
}

/**
 * Calls the brokers and writes down each call and what became of it. A call whose outcome is not known is made again, at the next
 * broker, under the same key, request id or token, until it is known.
 */
export class LessorClient {
  readonly #http = new HttpClient();
  readonly #urls: () => readonly string[];
  readonly #history: HistoryWriter;
  readonly #name: string;
  #count = 0;
  #turn: number;

  /** @param name of the client in the history */
  constructor(options: { urls: () => readonly string[]; history: HistoryWriter; name: string; turn?: number }) {
    this.#urls = options.urls;
    this.#history = options.history;
    this.#name = options.name;
    this.#turn = options.turn ?? 0;
  }

  /** Posts tasks of one queue. @returns null when it never became known */
  async enqueue(tasks: readonly Posted[]): Promise<readonly Stored[] | null> {
    const [first] = tasks;
    const single = tasks.length === 1 && first !== undefined;
    const stored = (entry: { id: string; deduplicated?: boolean }, index: number): Stored => {
      return { mark: tasks[index]?.mark ?? '', task: entry.id, deduplicated: entry.deduplicated ?? false };
    };
    const known = await this.#untilKnown(
      { op: 'enqueue', tasks },
      {
        method: 'POST',
        path: single ? '/tasks' : '/tasks/batch',
        body: single ? toWire(first) : { tasks: tasks.map((task) => ({ ...toWire(task), idempotencyKey: task.mark })) },
        ...(single ? { headers: { 'idempotency-key': first.mark } } : {}),
        read: ({ body }) => ({ op: 'enqueue', tasks: (single ? [body] : body.tasks).map(stored) }),
      },
    );
    return known?.op === 'enqueue' ? known.tasks : null;
  }

  async lease(options: {
    queues: readonly string[];
    max: number;
    leaseMs: number;
    waitMs: number;
    requestId: string | null;
    workerId: string;
    byPost: boolean;
  }): Promise<readonly Granted[]> {
    const { queues, max, leaseMs, waitMs, requestId, workerId, byPost } = options;
    const asked = { max, leaseMs, waitMs, workerId, ...(requestId === null ? {} : { requestId }) };
    const query = new URLSearchParams(Object.entries(asked).map(([name, value]) => [name, String(value)]));
    for (const queue of queues) query.append('queue', queue);
    const known = await this.#untilKnown(
      { op: 'lease', queues, max, leaseMs, waitMs, requestId },
      {
        method: byPost ? 'POST' : 'GET',
        path: byPost ? '/tasks/lease' : `/tasks/lease?${query.toString()}`,
        body: byPost ? { queue: queues, ...asked } : undefined,
        read: ({ body }) => ({ op: 'lease', grants: grantsOf(body.tasks, leaseMs) }),
      },
    );
    return known?.op === 'lease' ? known.grants : [];
  }

  /** One verb, with a lease of more where that is asked for. */
  async settle(verb: Verb, next: { max: number; leaseMs: number } | null = null) {
    const known = await this.#untilKnown(
      { op: 'settle', items: [verb], next },
      {
        method: 'POST',
        path: `/tasks/${verb.task}/${verb.verb}`,
        body: next === null ? verbBody(verb) : { ...verbBody(verb), leaseNext: next },
        read: ({ status, body }) => ({
          op: 'settle',
          results: [toSettled(body, status)],
          next: next === null ? [] : grantsOf(body.next ?? [], next.leaseMs),
        }),
      },
    );
    return known?.op === 'settle'
      ? { settled: known.results[0] ?? null, next: known.next }
      : { settled: null, next: [] };
  }

  async settleMany(items: readonly Verb[]): Promise<readonly Settled[]> {
    const known = await this.#untilKnown(
      { op: 'settle', items, next: null },
      {
        method: 'POST',
        path: '/leases/settle',
        body: { items: items.map((item) => ({ id: item.task, op: item.verb, ...verbBody(item) })) },
        read: ({ status, body }) => ({
          op: 'settle',
          results: body.results.map((result: object) => toSettled(result, status)),
          next: [],
        }),
      },
    );
    return known?.op === 'settle' ? known.results : [];
  }

  async cancel(task: string, force: boolean): Promise<void> {
    await this.#untilKnown(
      { op: 'cancel', task, force },
      {
        method: 'POST',
        path: `/tasks/${task}/cancel`,
        body: { force },
        read: ({ body }) => ({ op: 'cancel', state: body.state }),
      },
    );
  }

  close(): void {
    this.#http.close();
  }

  async #untilKnown(asked: Request, http: Http): Promise<Known | null> {
    const until = performance.now() + REPEAT.forMs;
    let again: string | null = null;
    while (performance.now() < until) {
      const call = `${this.#name}.${++this.#count}`;
      const outcome = await this.#once(call, again, asked, http);
      if (outcome !== 'unknown') return outcome;
      again ??= call;
      this.#turn++;
      await sleep(REPEAT.pauseMs);
    }
    return null;
  }

  async #once(call: string, again: string | null, asked: Request, http: Http): Promise<Known | 'unknown'> {
    const urls = this.#urls();
    const base = urls[this.#turn % urls.length] ?? '';
    const deadlineMs = ANSWERED_WITHIN_MS + (asked.op === 'lease' ? asked.waitMs : 0);
    this.#history.write({ kind: 'call', call, again, deadlineMs, via: base, ...asked });
    const { method, path, body, headers = {} } = http;
    let reply: HttpReply;
    try {
      reply = await this.#http.call(method, `${base}${path}`, body, { timeoutMs: deadlineMs + PATIENCE_MS, headers });
    } catch (error) {
      if (!(error instanceof NoReply)) throw error;
      this.#history.write({ kind: 'unknown', call, status: null, why: error.message });
      return 'unknown';
    }
    if (reply.status >= 500 || reply.status === 429) {
      this.#history.write({ kind: 'unknown', call, status: reply.status, why: String(reply.body?.code) });
      return 'unknown';
    }
    if (reply.status >= 400) {
      const code = String(reply.body?.code);
      this.#history.write({ kind: 'failed', call, status: reply.status, code });
      return { op: 'refused', code };
    }
    const read = http.read(reply);
    this.#history.write({ kind: 'ok', call, ...read });
    return read;
  }
}

function grantsOf(tasks: readonly Parameters<typeof toGranted>[0][], leaseMs: number): Granted[] {
  return tasks.map((task) => toGranted(task, leaseMs));
}
