import { batchBody } from './batches.ts';
import { expectStatus, httpRequest } from './http.ts';
import { openLessor } from './lessor-session.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';

const BATCH = 1000;
const CONNECTIONS = 4;

export interface SeedArgs {
  port: number;
  tasks: number;
  /** Spreads them over queues `<QUEUE>-0`, `<QUEUE>-1`, …; all in QUEUE when left out. */
  queues?: number;
  /** When they are due, in ms since the epoch. */
  runAt?: number;
}

export function spreadQueue(index: number): string {
  return `${QUEUE}-${index}`;
}

/** Posts tasks that nobody works on, 1000 in a request. Answers how long it took, in ms. */
export async function seed({ port, tasks, queues, runAt }: SeedArgs): Promise<number> {
  const more = runAt === undefined ? '' : `,"runAt":"${new Date(runAt).toISOString()}"`;
  const entry = (queue: string): string => `{"queue":"${queue}","payload":${PAYLOAD_TEXT}${more}}`;
  const same = entry(QUEUE);
  let posted = 0;

  function nextBody(): string {
    const from = posted;
    const count = Math.min(BATCH, tasks - posted);
    posted += count;
    if (queues === undefined) return batchBody(same, count);
    const entries = Array.from({ length: count }, (_, index) => entry(spreadQueue((from + index) % queues)));
    return `{"tasks":[${entries.join(',')}]}`;
  }

  const start = performance.now();
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const connection = await openLessor(port);
      while (posted < tasks) {
        expectStatus(await connection.request(httpRequest('POST', '/tasks/batch', nextBody())), 201);
      }
      connection.close();
    }),
  );
  return performance.now() - start;
}
