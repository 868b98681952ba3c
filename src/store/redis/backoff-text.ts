import type { Backoff } from '../../domain/backoff.ts';

/** A backoff as the scripts read it. */
export function backoffText({ type, baseMs, maxMs, jitter }: Backoff): string {
  return `${type},${baseMs},${maxMs},${jitter}`;
}
