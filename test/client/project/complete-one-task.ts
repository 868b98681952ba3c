import createClient from 'openapi-fetch';
import type { paths } from './api.js';

/** Posts a task, leases it, acknowledges it, and reads it back: each call typed by the generated client. */
export async function completeOneTask(baseUrl: string): Promise<{ id: string; state: string; result: unknown }> {
  const client = createClient<paths>({ baseUrl });

  const posted = await client.POST('/tasks', {
    body: { queue: 'generated', type: 'greet', payload: { name: 'Ada' }, tags: ['client'] },
  });
  if (!posted.data) throw new Error(`${posted.error.code}: ${posted.error.detail}`);

  const leased = await client.GET('/tasks/lease', { params: { query: { queue: ['generated'], waitMs: 1000 } } });
  if (!leased.data) throw new Error(`${leased.error.code}: ${leased.error.detail}`);
  const [task] = leased.data.tasks;
  if (task?.id !== posted.data.id) throw new Error('another task was leased');

  const acked = await client.POST('/tasks/{id}/ack', {
    params: { path: { id: task.id } },
    body: { leaseToken: task.lease.token, result: { greeting: 'Hello, Ada' } },
  });
  if (!acked.data) throw new Error(`${acked.error.code}: ${acked.error.detail}`);

  const read = await client.GET('/tasks/{id}', { params: { path: { id: task.id } } });
  if (!read.data) throw new Error(`${read.error.code}: ${read.error.detail}`);
  return { id: read.data.id, state: read.data.state, result: read.data.result };
}
