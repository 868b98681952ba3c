import { type Backoff, DEFAULT_BACKOFF } from './backoff.ts';

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
  retention: Retention;
}

/** What was set on a queue; all else follows {@link DEFAULT_QUEUE_CONFIG}. */
export interface QueueSettings {
  leaseMs?: number;
  maxAttempts?: number;
  backoff?: Partial<Backoff>;
  retention?: Partial<Retention>;
}

export const DEFAULT_QUEUE_CONFIG: QueueConfig = {
  leaseMs: 30_000,
  maxAttempts: 5,
  backoff: DEFAULT_BACKOFF,
  retention: { completedMs: 600_000, completedMax: 10_000, deadMs: 2_592_000_000 },
};

/** The whole configuration that settings amount to. */
export function queueConfig(settings: QueueSettings): QueueConfig {
  const defaults = DEFAULT_QUEUE_CONFIG;
  return {
    leaseMs: settings.leaseMs ?? defaults.leaseMs,
    maxAttempts: settings.maxAttempts ?? defaults.maxAttempts,
    backoff: { ...defaults.backoff, ...settings.backoff },
    retention: { ...defaults.retention, ...settings.retention },
  };
}

/** Settings after a change that names only some of them. */
export function mergeQueueSettings(settings: QueueSettings, change: QueueSettings): QueueSettings {
  const merged: QueueSettings = { ...settings, ...change };
  if (settings.backoff && change.backoff) merged.backoff = { ...settings.backoff, ...change.backoff };
  if (settings.retention && change.retention) merged.retention = { ...settings.retention, ...change.retention };
  return merged;
}
