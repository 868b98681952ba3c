/** What a long operation can be: it runs until it has come to its end or is cancelled. */
export const OPERATION_STATES = ['running', 'completed', 'cancelled'] as const;
export type OperationState = (typeof OPERATION_STATES)[number];

/** How long an operation that has ended can be asked for, in ms. */
export const OPERATION_KEPT_MS = 86_400_000;
/** How many of those that have ended are kept in one part of the store; the oldest go first. */
export const OPERATIONS_KEPT = 1000;
/** How many may run in one part of the store at once. */
export const OPERATIONS_RUNNING = 100;
/** Tasks that one step of an operation looks at, at most. */
export const OPERATION_STEP = 128;

/** Bytes of tasks that one step takes to another queue, at most, but for a single task that is larger. */
export const OPERATION_STEP_BYTES = 1_048_576;
/** How long an operation waits for room in a queue that is full, in ms. */
export const FULL_QUEUE_PAUSE_MS = 1000;

/** Tasks that one step redrives when no rate says less. */
const REDRIVEN_PER_STEP = 64;
/** The same where they go to another queue: each is stored anew, which takes longer. */
const MOVED_PER_STEP = 32;

/** Which dead tasks are meant; null: whatever it is. */
export interface DeadFilter {
  type: string | null;
  /** The code of the task's last error. */
  errorCode: string | null;
  /** Only those that died before, in ms since the epoch. */
  diedBefore: number | null;
}

/**
 * How many tasks one step may redrive under a rate: those of a tenth of a second, so that they come evenly.
 * @param elsewhere whether they go to another queue
 */
export function tasksPerStep(ratePerSec: number | null, elsewhere: boolean): number {
  const most = elsewhere ? MOVED_PER_STEP : REDRIVEN_PER_STEP;
  return ratePerSec === null ? most : Math.min(most, Math.max(1, Math.floor(ratePerSec / 10)));
}

/**
 * How long to wait after a step that redrove so many, in ms, so that the rate is never exceeded.
 * @param full whether the queue they go to had no room for the next
 */
export function pauseAfter(moved: number, ratePerSec: number | null, full: boolean): number {
  const pause = ratePerSec === null ? 0 : Math.ceil((moved * 1000) / ratePerSec);
  return full ? Math.max(pause, FULL_QUEUE_PAUSE_MS) : pause;
}

/** How many dead tasks a redrive is about, as far as that can be told without looking at each. */
export function expectedTotal(dead: number, filter: DeadFilter, max: number | null): number {
  const any = filter.type === null && filter.errorCode === null && filter.diedBefore === null;
  return any && max !== null ? Math.min(dead, max) : dead;
}
