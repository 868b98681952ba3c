import type { Backoff } from '../../domain/backoff.ts';

/** A backoff as the Lua operations read it. */
export function backoffText({ type, baseMs, maxMs, jitter }: Backoff): string {
  return `${type},${baseMs},${maxMs},${jitter}`;
}
