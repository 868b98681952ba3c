import { setTimeout as sleep } from 'node:timers/promises';
import { bodyOf, expectStatus, httpRequest, quoted } from './http.ts';
import { ackRequest, heldOf, LEASE, openLessor } from './lessor-session.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';

const WORKERS = 16;
/** Delays, and lengths of leases that nobody ends: from here on, in odd steps, so that due times lie apart. */
const SHORTEST_MS = 200;
const STEP_MS = 37;
const STEPS = 23;

export interface LatenessArgs {
  port: number;
  /** What is waited for: the time of a delayed task, or the end of a lease that its worker let go. */
  what: 'delayed tasks' | 'expired leases';
  tasks: number;
  perSecond: number;
}

/** The host's clock in ms since the epoch, with fractions; the clock of a store on this machine. */
function clock(): number {
  return performance.timeOrigin + performance.now();
}

/**
 * Lets tasks fall due one after another while workers wait. Answers how late, in ms, each reached a worker; a
 * negative number would be too early.
 */
export async function lateness({ port, what, tasks, perSecond }: LatenessArgs): Promise<number[]> {
  const due = new Map<string, number>();
  const late: number[] = [];
  const { promise: allDone, resolve, reject } = Promise.withResolvers<void>();
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => openLessor(port)));
  const producer = await openLessor(port);
  let stopped = false;

  async function post(lengthMs: number): Promise<void> {
    const field = what === 'delayed tasks' ? 'delayMs' : 'leaseMs';
    const body = `{"queue":"${QUEUE}","payload":${PAYLOAD_TEXT},"${field}":${lengthMs}}`;
    const reply = bodyOf(expectStatus(await producer.request(httpRequest('POST', '/tasks', body)), 201));
    if (what === 'delayed tasks') due.set(quoted(reply, '"id":"'), Date.parse(quoted(reply, '"runAt":"')));
  }

  /** Whether the task was leased for the first time and is to be let go. */
  function abandons(id: string, reply: string): boolean {
    if (what === 'delayed tasks' || !reply.includes('"fence":1,')) return false;
    due.set(id, Date.parse(quoted(reply, '"expiresAt":"', reply.indexOf('"token":"'))));
    return true;
  }

  for (const worker of workers) {
    void (async () => {
      while (!stopped) {
        const reply = await worker.request(LEASE);
        const now = clock();
        for (const held of heldOf(reply)) {
          if (abandons(held.id, reply)) continue;
          const at = due.get(held.id);
          if (at === undefined) throw new Error(`task ${held.id} came before its producer had heard of it`);
          late.push(now - at);
          expectStatus(await worker.request(ackRequest(held)), 200);
          if (late.length === tasks) resolve();
        }
      }
    })().catch(reject);
  }

  const begin = performance.now();
  const posting = (async () => {
    for (let index = 0; index < tasks; index++) {
      await sleep(Math.max(0, begin + (index * 1000) / perSecond - performance.now()));
      await post(SHORTEST_MS + STEP_MS * (index % STEPS));
    }
  })();
  await Promise.all([posting, allDone]);
  stopped = true;
  for (const connection of [producer, ...workers]) connection.close();
  return late;
}
