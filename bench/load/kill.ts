import { expectStatus, httpRequest } from './http.ts';
import { heldOf, openLessor } from './lessor-session.ts';
import { QUEUE } from './payload.ts';

const CONNECTIONS = 4;
/** What one lease may hold. */
const BATCH = 100;

export interface KillArgs {
  port: number;
  /** How many are waiting, all of which are killed. */
  tasks: number;
}

/** Leases tasks and fails each of them for good, so that the queue holds as many dead ones. */
export async function kill({ port, tasks }: KillArgs): Promise<void> {
  const lease = httpRequest('GET', `/tasks/lease?queue=${QUEUE}&max=${BATCH}&waitMs=0`);
  let left = tasks;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const connection = await openLessor(port);
      while (left > 0) {
        left -= BATCH;
        const items = heldOf(await connection.request(lease)).map(
          ({ id, token }) => `{"id":"${id}","leaseToken":"${token}","op":"nack","retryable":false}`,
        );
        const body = `{"items":[${items.join(',')}]}`;
        expectStatus(await connection.request(httpRequest('POST', '/leases/settle', body)), 200);
      }
      connection.close();
    }),
  );
}
