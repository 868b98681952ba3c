import { setTimeout as sleep } from 'node:timers/promises';
import { expectStatus } from './http.ts';
import { ackRequest, ENQUEUE, heldOf, LEASE, openLessor } from './lessor-session.ts';

export interface WakeUpsArgs {
  /** Where tasks are posted. */
  producerPort: number;
  /** Where workers wait: the same broker, or another one on the same store. */
  workerPort: number;
  /** Workers that wait all the time. */
  parked: number;
  tasks: number;
  perSecond: number;
}

/**
 * Posts tasks one by one while workers wait. Answers, in ms and for each task, the time from sending the request
 * that posts it until a worker has read it. All of it is one process, so that one clock is asked.
 */
export async function wakeUps({ producerPort, workerPort, parked, tasks, perSecond }: WakeUpsArgs): Promise<number[]> {
  const sent = new Map<string, number>();
  const got = new Map<string, number>();
  const seen = new Set<string>();
  const latencies: number[] = [];
  const { promise: allDone, resolve, reject } = Promise.withResolvers<void>();
  const workers = await Promise.all(Array.from({ length: parked }, () => openLessor(workerPort)));
  let stopped = false;

  // A fast worker may hear of a task before its producer does.
  function match(id: string): void {
    const start = sent.get(id);
    const end = got.get(id);
    if (start === undefined || end === undefined) return;
    sent.delete(id);
    got.delete(id);
    latencies.push(end - start);
    if (latencies.length === tasks) resolve();
  }

  for (const worker of workers) {
    void (async () => {
      while (!stopped) {
        const reply = await worker.request(LEASE);
        const now = performance.now();
        for (const held of heldOf(reply)) {
          if (seen.has(held.id)) throw new Error(`task ${held.id} was granted twice`);
          seen.add(held.id);
          got.set(held.id, now);
          match(held.id);
          expectStatus(await worker.request(ackRequest(held)), 200);
        }
      }
    })().catch(reject);
  }
  const producer = await openLessor(producerPort);
  await sleep(500);

  const begin = performance.now();
  const posting = (async () => {
    for (let index = 0; index < tasks; index++) {
      await sleep(Math.max(0, begin + (index * 1000) / perSecond - performance.now()));
      const start = performance.now();
      const reply = expectStatus(await producer.request(ENQUEUE), 201);
      const id = /"id":"([^"]+)"/.exec(reply)?.[1];
      if (id === undefined) throw new Error(`no id in ${reply.slice(0, 600)}`);
      sent.set(id, start);
      match(id);
    }
  })();
  await Promise.all([posting, allDone]);
  stopped = true;
  for (const connection of [producer, ...workers]) connection.close();
  return latencies;
}
