import type { Connection } from './connection.ts';
import type { CyclesResult } from './cycles.ts';
import { expectStatus, httpRequest } from './http.ts';
import { type Held, heldOf, openLessor } from './lessor-session.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';

export interface BatchesArgs {
  port: number;
  /** Connections that post, each a batch at a time. */
  producers: number;
  /** Connections that lease and settle, each a batch at a time. */
  workers: number;
  /** At most 100, which is what one lease may hold. */
  batch: number;
  /** Tasks in all; a multiple of `batch`. */
  tasks: number;
}

/** The body of a batch of equal tasks. */
export function batchBody(entry: string, count: number): string {
  return `{"tasks":[${new Array<string>(count).fill(entry).join(',')}]}`;
}

/** Acks of a batch of leases. */
function settleRequest(held: readonly Held[]): string {
  const items = held.map(({ id, token }) => `{"id":"${id}","leaseToken":"${token}","op":"ack"}`);
  return httpRequest('POST', '/leases/settle', `{"items":[${items.join(',')}]}`);
}

/** Puts tasks through in batches: posted, leased and acknowledged by connections that work at the same time. */
export async function batches({ port, producers, workers, batch, tasks }: BatchesArgs): Promise<CyclesResult> {
  const post = httpRequest('POST', '/tasks/batch', batchBody(`{"queue":"${QUEUE}","payload":${PAYLOAD_TEXT}}`, batch));
  const lease = httpRequest('GET', `/tasks/lease?queue=${QUEUE}&max=${batch}&waitMs=1000`);
  const connections = await Promise.all(Array.from({ length: producers + workers }, () => openLessor(port)));
  const { promise: allAcknowledged, resolve, reject } = Promise.withResolvers<void>();
  let toPost = tasks;
  let toAck = tasks;

  async function produce(connection: Connection): Promise<void> {
    while (toPost > 0) {
      toPost -= batch;
      expectStatus(await connection.request(post), 201);
    }
  }

  async function work(connection: Connection): Promise<void> {
    while (toAck > 0) {
      const held = heldOf(await connection.request(lease));
      if (held.length === 0) continue;
      const reply = expectStatus(await connection.request(settleRequest(held)), 200);
      if (!reply.includes('"failed":0')) throw new Error(`not all were acknowledged: ${reply.slice(0, 600)}`);
      toAck -= held.length;
    }
    resolve();
  }

  const start = performance.now();
  for (const [index, connection] of connections.entries()) {
    (index < producers ? produce : work)(connection).catch(reject);
  }
  // Other workers are still waiting for tasks by then; they are hung up on.
  await allAcknowledged;
  const elapsed = performance.now() - start;
  for (const connection of connections) connection.close();
  return { cycles: tasks, ms: elapsed };
}
