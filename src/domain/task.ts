import type { Backoff } from './backoff.ts';
import type { JsonText } from './json-text.ts';
import type { Unique } from './unique.ts';

/**
 * Every state a task can be in. `blocked` is what a task of a group is that might be leased now but for others of its
 * group: wherever a rule says `ready`, such a task is one of the two.
 */
export const TASK_STATES = [
  'scheduled',
  'ready',
  'blocked',
  'leased',
  'completed',
  'dead',
  'cancelled',
  'expired',
] as const;
export type TaskState = (typeof TASK_STATES)[number];

/** Numbers of tasks by state. */
export type StateCounts = Record<TaskState, number>;

/** States that nothing leaves by itself; `dead`, `cancelled` and `expired` can be redriven. */
export const TERMINAL_STATES = ['completed', 'dead', 'cancelled', 'expired'] as const;
export type TerminalState = (typeof TERMINAL_STATES)[number];

/** States in which a task waits for a worker or for its time. */
export const WAITING_STATES = ['scheduled', 'ready', 'blocked'] as const;
export type WaitingState = (typeof WAITING_STATES)[number];

/** A queue that holds tasks in one of these is not empty; those in the other ones are deleted with it. */
export const QUEUE_KEEPING_STATES: readonly TaskState[] = [...WAITING_STATES, 'leased', 'dead'];
export const DROPPED_STATES = ['completed', 'cancelled', 'expired'] as const;

export function isTerminal(state: TaskState): state is TerminalState {
  return (TERMINAL_STATES as readonly TaskState[]).includes(state);
}

export function isWaiting(state: TaskState): state is WaitingState {
  return (WAITING_STATES as readonly TaskState[]).includes(state);
}

/** W3C trace context (https://www.w3.org/TR/trace-context/) of the producer. */
export interface Trace {
  traceparent: string;
  tracestate: string | null;
}

/** The last thing that went wrong with a task. `at` is in ms since the epoch by the store's clock. */
export interface TaskError {
  code: string | null;
  message: string | null;
  details: JsonText | null;
  attempt: number;
  at: number;
}

/** What a producer asks for. All durations in ms; `null` follows the queue. */
export interface NewTask {
  /** Minted by the broker before the store is called: storing it twice stores it once. */
  id: string;
  type: string | null;
  payload: JsonText;
  /** 0–9, 9 first. */
  priority: number;
  /** Relative to the store's clock; at most one of `delayMs` and `runAt` is set. */
  delayMs: number | null;
  /** Ms since the epoch. */
  runAt: number | null;
  ttlMs: number | null;
  leaseMs: number | null;
  maxAttempts: number | null;
  backoff: Backoff | null;
  tags: readonly string[];
  metadata: Readonly<Record<string, string>>;
  trace: Trace | null;
  /** The producer's key and a digest of what it asked for. */
  idempotency: { key: string; fingerprint: string } | null;
  unique: Unique | null;
  /** Tasks with the same one share a line of their own. */
  groupKey: string | null;
  /** How long it is kept after it has ended. */
  retentionMs: number | null;
}

/**
 * A task as a store hands it out. Times are ms since the epoch by the store's clock.
 * No token: that is shown by the lease reply alone ({@link Grant}).
 */
export interface TaskRecord {
  id: string;
  queue: string;
  type: string | null;
  state: TaskState;
  priority: number;
  payload: JsonText;
  tags: readonly string[];
  metadata: Readonly<Record<string, string>>;
  groupKey: string | null;
  /** The key it was stored with, whether it holds it or not. */
  uniqueKey: string | null;
  /** Leases that counted so far. */
  attempt: number;
  /** The task's own, or the queue's at the time of reading. */
  maxAttempts: number;
  /** Grants ever made; equals the last fence. */
  deliveries: number;
  createdAt: number;
  runAt: number;
  expiresAt: number | null;
  finishedAt: number | null;
  lease: { workerId: string | null; expiresAt: number } | null;
  progress: JsonText | null;
  checkpoint: JsonText | null;
  result: JsonText | null;
  lastError: TaskError | null;
  cancelRequested: boolean;
  trace: Trace | null;
}

/** A task just leased: `task.deliveries` is its fence, `task.lease` its deadline. */
export interface Grant {
  task: TaskRecord;
  token: string;
}
