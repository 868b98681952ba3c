import { type Backoff, DEFAULT_BACKOFF } from './backoff.ts';
import type { RateLimit } from './flow.ts';
import type { Groups } from './groups.ts';
import type { TaskState } from './task.ts';

interface Retention {
  /** How long completed, cancelled and expired tasks are kept, in ms. */
  completedMs: number;
  /** How many of each of them are kept. */
  completedMax: number;
  /** How long dead tasks are kept, in ms. */
  deadMs: number;
}

/** What a queue decides for its tasks, complete. */
export interface QueueConfig {
  leaseMs: number;
  maxAttempts: number;
  backoff: Backoff;
  /** Most leases at once; null: as many as are asked for. */
  maxConcurrency: number | null;
  rateLimit: RateLimit | null;
  /** Most tasks that may wait or be leased at once; null: as many as come. */
  maxBacklog: number | null;
  groups: Groups;
  retention: Retention;
}

/** What was set on a queue; all else follows {@link DEFAULT_QUEUE_CONFIG}. */
export interface QueueSettings {
  leaseMs?: number;
  maxAttempts?: number;
  backoff?: Partial<Backoff>;
  maxConcurrency?: number;
  rateLimit?: RateLimit;
  maxBacklog?: number;
  groups?: Partial<Groups>;
  retention?: Partial<Retention>;
}

export const DEFAULT_QUEUE_CONFIG: QueueConfig = {
  leaseMs: 30_000,
  maxAttempts: 5,
  backoff: DEFAULT_BACKOFF,
  maxConcurrency: null,
  rateLimit: null,
  maxBacklog: null,
  groups: { maxConcurrency: 1, ordering: 'strict' },
  retention: { completedMs: 600_000, completedMax: 10_000, deadMs: 2_592_000_000 },
};

/** The whole configuration that settings amount to. */
export function queueConfig(settings: QueueSettings): QueueConfig {
  const defaults = DEFAULT_QUEUE_CONFIG;
  return {
    leaseMs: settings.leaseMs ?? defaults.leaseMs,
    maxAttempts: settings.maxAttempts ?? defaults.maxAttempts,
    backoff: { ...defaults.backoff, ...settings.backoff },
    maxConcurrency: settings.maxConcurrency ?? defaults.maxConcurrency,
    rateLimit: settings.rateLimit ?? defaults.rateLimit,
    maxBacklog: settings.maxBacklog ?? defaults.maxBacklog,
    groups: { ...defaults.groups, ...settings.groups },
    retention: { ...defaults.retention, ...settings.retention },
  };
}

/** What counts against `maxBacklog`: whatever has not ended. */
export const BACKLOG_STATES = ['scheduled', 'ready', 'blocked', 'leased'] as const satisfies readonly TaskState[];

/**
 * Whether one more task is too many. `adds` is less than one where it takes the place of another: what does not make
 * the backlog longer is let through, however long that is.
 */
export function exceedsBacklog(maxBacklog: number | null, backlog: number, adds: number): boolean {
  return maxBacklog !== null && adds > 0 && backlog + adds > maxBacklog;
}

/** Settings after a change that names only some of them. */
export function mergeQueueSettings(settings: QueueSettings, change: QueueSettings): QueueSettings {
  const merged: QueueSettings = { ...settings, ...change };
  if (settings.backoff && change.backoff) merged.backoff = { ...settings.backoff, ...change.backoff };
  if (settings.groups && change.groups) merged.groups = { ...settings.groups, ...change.groups };
  if (settings.retention && change.retention) merged.retention = { ...settings.retention, ...change.retention };
  return merged;
}
