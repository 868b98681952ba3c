import { HttpClient } from './http-client.ts';

/** The lines that the load works on: one plain, one of groups, and one that is limited and has tasks with a ttl and unique keys. */
export const QUEUES = ['plain', 'grouped', 'limited'] as const;
/** How many leases of a queue run at once; null for any number. */
export const LIMITS: Readonly<Record<(typeof QUEUES)[number], number | null>> = {
  plain: null,
  grouped: null,
  limited: 40,
};

/** How long a worker of the load leases a task. */
export const LEASE_MS = 1200;
export const MAX_ATTEMPTS = 6;

/** Everything that ends is kept until the checker has seen it; a failed attempt waits for a moment only. */
const KEPT = {
  leaseMs: LEASE_MS,
  maxAttempts: MAX_ATTEMPTS,
  backoff: { type: 'exponential', baseMs: 60, maxMs: 400, jitter: 0.2 },
  retention: { completedMs: 86_400_000, completedMax: 1_000_000, deadMs: 86_400_000 },
};

/** @param base of any broker */
export async function configureQueues(base: string): Promise<void> {
  const http = new HttpClient();
  const settings = {
    plain: KEPT,
    grouped: { ...KEPT, groups: { maxConcurrency: 1, ordering: 'relaxed' } },
    limited: { ...KEPT, maxConcurrency: LIMITS.limited },
  };
  for (const queue of QUEUES) {
    const { status, body } = await http.insist('PUT', `${base}/queues/${queue}`, settings[queue], {
      timeoutMs: 10_000,
    });
    if (status >= 300) throw new Error(`queue ${queue} could not be configured: ${JSON.stringify(body)}`);
  }
  http.close();
}
