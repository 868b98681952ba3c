export const BACKOFF_TYPES = ['exponential', 'linear', 'fixed'] as const;
type BackoffType = (typeof BACKOFF_TYPES)[number];

/** How long a failed task waits before its next attempt. */
export interface Backoff {
  type: BackoffType;
  baseMs: number;
  maxMs: number;
  /** 0–1: the largest part of the delay that may be added on top, never taken off. */
  jitter: number;
}

export const DEFAULT_BACKOFF: Backoff = { type: 'exponential', baseMs: 1000, maxMs: 3_600_000, jitter: 0.2 };

/**
 * The wait in whole ms after failed attempt number `attempt` (1 and up). Jitter only ever adds, so that a
 * herd of failures spreads out without any of them coming back early.
 * @param random uniform in [0, 1), drawn by the caller
 */
export function backoffMs(backoff: Backoff, attempt: number, random: number): number {
  const grown =
    backoff.type === 'exponential'
      ? backoff.baseMs * 2 ** Math.min(attempt - 1, 1000)
      : backoff.type === 'linear'
        ? backoff.baseMs * attempt
        : backoff.baseMs;
  const delay = Math.min(grown, backoff.maxMs);
  return Math.floor(delay + random * backoff.jitter * delay);
}
