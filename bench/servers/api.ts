/** A request of the runner's own, off the measured path. Answers the JSON of a 2xx reply. */
export async function ask(url: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'content-type': 'application/json' };
  }
  const reply = await fetch(url + path, init);
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
  return text === '' ? null : (JSON.parse(text) as unknown);
}

/** Numbers of a queue, as its broker tells them. */
export async function queueStats(url: string, queue: string): Promise<Record<string, number>> {
  return (await ask(url, 'GET', `/queues/${queue}/stats`)) as Record<string, number>;
}

/** A task as a worker holds it, in the form in which it is settled. */
export interface Leased {
  id: string;
  leaseToken: string;
}

/** Leases up to `count` tasks, 100 at a time. */
export async function lease(url: string, queue: string, count: number, leaseMs: number): Promise<Leased[]> {
  const held: Leased[] = [];
  while (held.length < count) {
    const path = `/tasks/lease?queue=${queue}&max=100&waitMs=0&leaseMs=${leaseMs}`;
    const { tasks } = (await ask(url, 'GET', path)) as { tasks: { id: string; lease: { token: string } }[] };
    if (tasks.length === 0) break;
    held.push(...tasks.map(({ id, lease: { token } }) => ({ id, leaseToken: token })));
  }
  return held;
}
