import { setTimeout } from 'node:timers/promises';
import pino from 'pino';
import { createApp } from '../../src/app.ts';
import { startRedisPair } from '../support/redis-pair.ts';
import { startTcpLink } from '../support/tcp-link.ts';
import { until } from '../support/until.ts';

/** What became of calls that were answered before a failover, judged after it. */
export interface FailoverLoss {
  /** Tasks whose enqueue was answered 2xx. */
  enqueued: number;
  /** Of those, how many there are no more. */
  lostTasks: number;
  /** Acks that were answered 2xx. */
  acked: number;
  /** Of those, how many are of tasks that are not completed, or not there. */
  lostAcks: number;
  /** Calls that were answered 5xx, or not at all: their outcome was unknown, and they were made again. */
  unknown: number;
  /** Tasks that there are beyond one for each that was to be posted. */
  surplus: number;
}

export interface FailoverLossOptions {
  durability: 'default' | `replicated:${number}`;
  /** Calls that are answered before the replica falls behind. */
  before?: number;
  /** Outcomes, answers or refusals, while it is behind and nobody knows. */
  during?: number;
  /** Calls that are answered after the failover. */
  afterwards?: number;
}

const CLIENTS = 8;
const QUEUES = { posted: 'posted', worked: 'worked' };
/** Tries of one call; a call is tried again after a moment. */
const MOST_TRIES = 2000;
const MOMENT_MS = 10;

/**
 * A load of enqueues and acks over HTTP on a primary with one replica. The way between the two goes dark, the load goes on, the primary is
 * killed and the replica promoted; the killed one comes back as its replica. Then whatever was answered 2xx is looked for.
 */
export async function failoverLoss({
  durability,
  before = 100,
  during = 2 * CLIENTS,
  afterwards = 50,
}: FailoverLossOptions): Promise<FailoverLoss> {
  const pair = await startRedisPair();
  // Where the broker looks for Redis: a name that leads to whichever is the primary.
  const name = await startTcpLink(pair.primary.port);
  const app = createApp(
    {
      host: '127.0.0.1',
      port: 0,
      store: { driver: 'redis', url: `redis://127.0.0.1:${name.port}`, prefix: 'lessor', shards: 4, durability },
      ...{ logLevel: 'silent', maxWaiters: 100, shutdownMs: 5000, insecure: false },
    },
    { log: pino({ level: 'silent' }), version: '0.0.0-test', openFiles: null },
  );
  try {
    const load = new Load((await app.listen()).url);
    await load.prepare(before + during + afterwards + CLIENTS);
    const clients = Array.from({ length: CLIENTS }, (_, index) => (index % 2 === 0 ? load.post() : load.work()));
    const reaches = (count: number): Promise<boolean> =>
      until(() => load.outcomes >= count, { timeoutMs: 30_000, what: `${count} outcomes` });
    await reaches(before);
    pair.link.swallow();
    await reaches(load.outcomes + during);

    await pair.primary.kill();
    pair.link.lead(pair.primary.port);
    await pair.onReplica.replicaof('NO', 'ONE');
    name.lead(pair.replica.port);
    await pair.primary.restart();
    await until(() => pair.onPrimary.replicaof('127.0.0.1', pair.replica.port).catch(() => null));
    const answered = load.answered;
    await until(() => load.answered >= answered + afterwards, { timeoutMs: 30_000, what: 'calls are answered again' });
    load.stop();
    await Promise.all(clients);
    return await load.judge();
  } finally {
    await app.stop();
    await name.stop();
    await pair.stop();
  }
}

interface Reply {
  status: number;
  body: { id?: string; state?: string; tasks?: { id: string; lease: { token: string } }[] };
}

/** Clients that make every call until it is answered, under a key that makes it one call. */
class Load {
  /** Answers and refusals so far. */
  outcomes = 0;
  answered = 0;
  readonly #url: string;
  readonly #enqueued: string[] = [];
  readonly #acked: string[] = [];
  #unknown = 0;
  #numbers = 0;
  #stopped = false;

  constructor(url: string) {
    this.#url = url;
  }

  /** Tasks to be worked on. */
  async prepare(count: number): Promise<void> {
    const tasks = Array.from({ length: count }, () => ({ queue: QUEUES.worked }));
    await this.#insist('/tasks/batch', { tasks: tasks.slice(0, 1000) });
    this.outcomes = 0;
    this.answered = 0;
  }

  stop(): void {
    this.#stopped = true;
  }

  async post(): Promise<void> {
    while (!this.#stopped) {
      const key = `key-${this.#numbers++}`;
      const { body } = await this.#insist('/tasks', { queue: QUEUES.posted }, { 'idempotency-key': `"${key}"` });
      if (body.id !== undefined) this.#enqueued.push(body.id);
    }
  }

  async work(): Promise<void> {
    while (!this.#stopped) {
      const requestId = `request-${this.#numbers++}`;
      const lease = { queue: QUEUES.worked, waitMs: 0, leaseMs: 600_000, requestId };
      const { body } = await this.#insist('/tasks/lease', lease);
      for (const { id, lease: held } of body.tasks ?? []) {
        const { status } = await this.#insist(`/tasks/${id}/ack`, { leaseToken: held.token });
        if (status === 200) this.#acked.push(id);
      }
    }
  }

  /** What of that which was answered is there. */
  async judge(): Promise<FailoverLoss> {
    let [lostTasks, lostAcks] = [0, 0];
    for (const id of this.#enqueued) if ((await this.#get(`/tasks/${id}`)).status === 404) lostTasks++;
    for (const id of this.#acked) if ((await this.#get(`/tasks/${id}`)).body.state !== 'completed') lostAcks++;
    const stats = await fetch(`${this.#url}/queues/${QUEUES.posted}/stats`);
    const { ready } = (await stats.json()) as { ready: number };
    return {
      ...{ enqueued: this.#enqueued.length, lostTasks, acked: this.#acked.length, lostAcks, unknown: this.#unknown },
      surplus: ready - (this.#enqueued.length - lostTasks),
    };
  }

  async #get(path: string): Promise<Reply> {
    const reply = await fetch(`${this.#url}${path}`);
    return { status: reply.status, body: (await reply.json()) as Reply['body'] };
  }

  /** Until the outcome is known: 5xx tells nothing. */
  async #insist(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const reply = await fetch(`${this.#url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      const text = await reply.text();
      this.outcomes++;
      if (reply.status === 422 || reply.status === 400) throw new Error(`${path} is not valid: ${text}`);
      if (reply.status < 500) {
        this.answered++;
        return { status: reply.status, body: JSON.parse(text) as Reply['body'] };
      }
      this.#unknown++;
      await setTimeout(MOMENT_MS);
    }
    throw new Error(`${path} was never answered`);
  }
}
