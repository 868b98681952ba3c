import { StoreError } from '../store.ts';
import { isTimeout } from './failures.ts';

/** A lost connection is waited for this long, from its loss. */
export const PATIENCE_MS = 1800;
/** A command without an answer for this long has failed; its outcome is unknown. */
export const COMMAND_TIMEOUT_MS = 1500;
/** A call whose reply was lost is sent this often in all. */
const MAX_ATTEMPTS = 4;
/** A call whose shard has answered nothing for this long waits for nothing more and is not sent again. */
const LAST_SEND_MS = 2800;
/** By then it has failed, since what was sent last has. Callers are promised to hear of that within five seconds. */
export const ANSWER_MS = LAST_SEND_MS + COMMAND_TIMEOUT_MS;

/** Whether a call is too old to be sent that was made, or whose shard has answered last, at a time. */
export function isLate(since: number): boolean {
  return performance.now() - since >= LAST_SEND_MS;
}

/** How long a call goes on in spite of losses. Each has one of its own. */
export class Patience {
  /** When the call was made, or when its shard answered last while it waited for others. */
  readonly since: number;
  #attempts = 0;
  #lostAt = Number.POSITIVE_INFINITY;

  constructor(since: number) {
    this.since = since;
  }

  get late(): boolean {
    return isLate(this.since);
  }

  /**
   * The reply to an attempt is lost; whether there may be another one. A server may let every connection in and answer nothing: what was
   * lost by a time-out was lost when it was sent.
   */
  mayRepeat(error: unknown, sent: number): boolean {
    this.#attempts++;
    this.#lostAt = Math.min(this.#lostAt, isTimeout(error) ? sent : performance.now());
    return this.#attempts < MAX_ATTEMPTS && !this.late && performance.now() - this.#lostAt < PATIENCE_MS;
  }

  /** How long a connection that is gone since then is still waited for. */
  leftOf(downSince: number): number {
    return Math.min(downSince + PATIENCE_MS, this.since + LAST_SEND_MS) - performance.now();
  }
}

/** Of a call that was not sent: nothing was done. */
export function gaveUp(): StoreError {
  return new StoreError('unavailable', 'Redis: the shard has not answered the calls before this one');
}
