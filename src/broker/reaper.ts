import type { Logger } from 'pino';
import type { Store, SweepReport } from '../store/store.ts';
import type { StoreClock } from './store-clock.ts';

/** How long a failed sweep waits before the next try. */
const RETRY_MS = 1000;
/** How often a store that others write to is looked at although nothing is known to be due. */
const SHARED_POLL_MS = 1000;
/** `setTimeout` takes no more than this. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Brings about what is due: promotes, takes back, expires, prunes. Sleeps until the earliest due time that any
 * reply of the store has named. Any number of processes may run one on the same store.
 */
export class Reaper {
  readonly #store: Store;
  readonly #clock: StoreClock;
  readonly #log: Logger;
  readonly #onSwept: (report: SweepReport) => void;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #dueAt = Number.POSITIVE_INFINITY;
  #sweeping: Promise<void> | null = null;
  #running = false;
  /** The last step did nothing. */
  #failing = false;
  /** The log knows that steps fail, in part at least. */
  #told = false;

  constructor(store: Store, clock: StoreClock, log: Logger, onSwept: (report: SweepReport) => void) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#onSwept = onSwept;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    // What fell due while no process was running is found by the first sweep.
    this.#wakeAt(this.#clock.now());
  }

  /** Ends after the step under way. */
  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    await this.#sweeping;
  }

  /** Something falls due at `dueAt` (ms by the store's clock). */
  expect(dueAt: number | null): void {
    if (dueAt === null || dueAt >= this.#dueAt) return;
    this.#dueAt = dueAt;
    if (this.#sweeping === null) this.#wakeAt(dueAt);
  }

  #wakeAt(at: number): void {
    if (!this.#running || at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        this.#sweeping = this.#sweep().finally(() => {
          this.#sweeping = null;
          this.#wakeAt(this.#nextAt());
        });
      },
      Math.min(Math.max(0, at - this.#clock.now()), MAX_TIMER_MS),
    );
  }

  #nextAt(): number {
    const now = this.#clock.now();
    if (this.#failing) return now + RETRY_MS;
    return this.#store.shared ? Math.min(this.#dueAt, now + SHARED_POLL_MS) : this.#dueAt;
  }

  /** Steps until nothing is due. */
  async #sweep(): Promise<void> {
    try {
      while (this.#running) {
        this.#dueAt = Number.POSITIVE_INFINITY;
        const report = await this.#store.sweep();
        this.#failing = false;
        if (report.failure) this.#tell(report.failure);
        else this.#told = false;
        this.#clock.heard(report.now);
        this.#onSwept(report);
        if (report.dueAt !== null) this.#dueAt = Math.min(this.#dueAt, report.dueAt);
        if (report.dueAt === null || report.dueAt > report.now) return;
      }
    } catch (error) {
      this.#tell(error);
      this.#failing = true;
    }
  }

  /** Says that steps fail: once, until one has succeeded. */
  #tell(error: unknown): void {
    if (this.#told) return;
    this.#told = true;
    this.#log.warn(
      { err: error },
      'sweep failed: due tasks and expired leases wait where the store does not answer until it does again; trying every second',
    );
  }
}
