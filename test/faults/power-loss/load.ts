import { setTimeout } from 'node:timers/promises';
import type { Account, Promised } from './promises.ts';

export const QUEUE = 'power';

/** Longer than any run: no lease of the load ends by its deadline. */
const LEASE_MS = 3_600_000;
const PRODUCERS = 8;
const WORKERS = 8;
const LARGE_PAYLOAD_BYTES = 6000;

/** What becomes of a leased task, and how often. Some stay leased. */
const ENDINGS = [
  { share: 0.65, verb: 'ack', body: { result: 'done' }, state: 'completed' },
  { share: 0.15, verb: 'nack', body: { retryable: false }, state: 'dead' },
  { share: 0.1, verb: 'cancel', body: { force: true }, state: 'cancelled' },
] as const;
const DELETED_SHARE = 0.2;

/** A call whose outcome is not known: such a recording proves nothing, and is made again. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered';
}

export interface LoadOptions {
  url: string;
  tasks: number;
  /** Tasks are posted evenly over this time. */
  durationMs: number;
  random: () => number;
  /** Called once, when half of the tasks are posted; one producer waits for it. */
  halfway?: () => Promise<unknown>;
}

/**
 * Posts tasks, leases them, and ends and deletes some of them, all over HTTP.
 * @returns what every call was answered, once all are
 * @throws Unanswered when the outcome of one is not known, as on a machine that stands still
 * @throws Error when one of them is refused: nothing is wrong with the broker yet
 */
export async function runLoad({ url, tasks, durationMs, random, halfway }: LoadOptions): Promise<Account> {
  const account: Account = { calls: new Map(), payloads: new Map() };
  const began = performance.now();
  let posted = 0;
  let answered = 0;
  let leased = 0;
  let calls = 0;

  async function call(method: string, path: string, body: object | null): Promise<[id: string, reply: Body]> {
    const requestId = `call-${calls++}`;
    const reply = await fetch(url + path, {
      method,
      headers: { 'x-request-id': requestId, ...(body === null ? {} : { 'content-type': 'application/json' }) },
      ...(body === null ? {} : { body: JSON.stringify(body) }),
    });
    const text = await reply.text();
    const said = `${method} ${path} was answered ${reply.status}: ${text}`;
    if (reply.status === 503) throw new Unanswered(said);
    if (!reply.ok) throw new Error(said);
    return [requestId, (text === '' ? {} : JSON.parse(text)) as Body];
  }

  async function change(method: string, path: string, body: object | null, promised: Promised): Promise<void> {
    const [requestId] = await call(method, path, body);
    account.calls.set(requestId, [promised]);
  }

  async function produce(): Promise<void> {
    while (posted < tasks) {
      const number = posted++;
      await setTimeout(Math.max(0, began + (number / tasks) * durationMs - performance.now()));
      const payload = `${number} ${'x'.repeat(random() < 0.1 ? LARGE_PAYLOAD_BYTES : 100)}`;
      const [requestId, { id }] = await call('POST', '/tasks', { queue: QUEUE, payload });
      account.calls.set(requestId, [{ task: id, step: 'stored', state: null }]);
      account.payloads.set(id, payload);
      answered++;
      if (answered === Math.ceil(tasks / 2)) await halfway?.();
    }
  }

  async function work(): Promise<void> {
    while (leased < tasks) {
      const max = 1 + Math.floor(random() * 3);
      const [requestId, { tasks: granted }] = await call('POST', '/tasks/lease', {
        queue: [QUEUE],
        max,
        leaseMs: LEASE_MS,
        waitMs: 200,
      });
      leased += granted.length;
      account.calls.set(
        requestId,
        granted.map(({ id }) => ({ task: id, step: 'leased', state: null })),
      );
      for (const { id, lease } of granted) await end(id, lease.token);
    }
  }

  async function end(task: string, leaseToken: string): Promise<void> {
    let chance = random();
    const ending = ENDINGS.find(({ share }) => (chance -= share) < 0);
    if (ending === undefined) return;
    const { verb, body, state } = ending;
    const wanted = verb === 'cancel' ? body : { leaseToken, ...body };
    await change('POST', `/tasks/${task}/${verb}`, wanted, { task, step: 'ended', state });
    if (random() < DELETED_SHARE) {
      await change('DELETE', `/tasks/${task}`, null, { task, step: 'deleted', state: null });
    }
  }

  await Promise.all([...Array.from({ length: PRODUCERS }, produce), ...Array.from({ length: WORKERS }, work)]);
  return account;
}

interface Body {
  id: string;
  tasks: { id: string; lease: { token: string } }[];
}
