import { setTimeout } from 'node:timers/promises';

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
  /** Leases that were answered 200 and long enough, and whose holder was refused: the store knew nothing of them. */
  lostLeases: number;
  /** Calls that were answered 5xx, or not at all: their outcome was unknown, and they were made again. */
  unknown: number;
  /** Tasks that there are beyond one for each that was to be posted. */
  surplus: number;
}

const QUEUES = { posted: 'posted', worked: 'worked' };
/** A call is tried again after a moment, for longer than any failover takes. */
const GIVE_UP_MS = 90_000;
const MOMENT_MS = 10;

interface Reply {
  status: number;
  body: { id?: string; state?: string; tasks?: { id: string; lease: { token: string } }[] };
}

/** Enqueues and acks by clients that make every call until it is answered, under a key that makes it one call. */
export class Load {
  /** Answers and refusals so far. */
  outcomes = 0;
  answered = 0;
  readonly #url: string;
  readonly #enqueued: string[] = [];
  readonly #acked: string[] = [];
  #lostLeases = 0;
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
        else this.#lostLeases++;
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
      lostLeases: this.#lostLeases,
      surplus: ready - (this.#enqueued.length - lostTasks),
    };
  }

  async #get(path: string): Promise<Reply> {
    const until = performance.now() + GIVE_UP_MS;
    while (performance.now() < until) {
      const reply = await fetch(`${this.#url}${path}`);
      const text = await reply.text();
      // A 5xx would be taken for a task that is there.
      if (reply.status < 500) return { status: reply.status, body: JSON.parse(text) as Reply['body'] };
      await setTimeout(MOMENT_MS);
    }
    throw new Error(`${path} was never answered after the failover`);
  }

  /** Until the outcome is known: 5xx tells nothing. */
  async #insist(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    const until = performance.now() + GIVE_UP_MS;
    while (performance.now() < until) {
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
