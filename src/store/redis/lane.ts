import type { Stamped } from '../store.ts';
import { gaveUp, isLate } from './patience.ts';

/** What is to be done when this turn of the event loop has read all that had come: together, so that it is written together. */
let departures: (() => void)[] = [];

function atEndOfTurn(depart: () => void): void {
  departures.push(depart);
  if (departures.length > 1) return;
  setImmediate(() => {
    const due = departures;
    departures = [];
    for (const each of due) each();
  });
}

/** A lane is busy whose last call was for at least so many callers. */
const BUSY = 4;

/** Items of one caller, to be answered together. */
interface Load<Item, Result> {
  items: readonly Item[];
  weight: number;
  /** When it came. */
  at: number;
  resolve: (reply: Stamped<Result>) => void;
  reject: (error: unknown) => void;
}

export interface LaneOptions<Item, Result> {
  /** Bounds of one call to Redis; a single load may not exceed them. */
  maxItems: number;
  maxWeight: number;
  /** Whether a call waits for the one before; otherwise all that has come travels together. */
  serial: boolean;
  /**
   * Answers in the order of the items.
   * @param since when the first of them came, or when the call before was answered while it waited
   */
  run: (items: readonly Item[], since: number) => Promise<Stamped<Result>>;
}

/**
 * One operation on one shard. Calls that come while one is under way, or within one turn of the event loop, share
 * the next call to Redis, so that under load the cost of one is spread over many items. A busy lane waits one turn
 * longer, in which more comes; a lone call waits for nothing but the end of the turn.
 *
 * How long a shard may leave a call without an answer counts from when it came, so that whoever waits behind one that fails does not
 * wait as long again; and anew with each answer, so that a shard that is merely slow, or has just come back, fails nobody.
 */
export class Lane<Item, Result> {
  readonly #maxItems: number;
  readonly #maxWeight: number;
  readonly #serial: boolean;
  readonly #run: LaneOptions<Item, Result>['run'];
  #waiting: Load<Item, Result>[] = [];
  #scheduled = false;
  /** Whether what waits has been kept for a turn already. */
  #kept = false;
  #lastCallers = 0;
  #running = 0;
  #answeredAt = Number.NEGATIVE_INFINITY;

  constructor({ maxItems, maxWeight, serial, run }: LaneOptions<Item, Result>) {
    this.#maxItems = maxItems;
    this.#maxWeight = maxWeight;
    this.#serial = serial;
    this.#run = run;
  }

  call(items: readonly Item[], weight: number): Promise<Stamped<Result>> {
    const { promise, resolve, reject } = Promise.withResolvers<Stamped<Result>>();
    this.#waiting.push({ items, weight, at: performance.now(), resolve, reject });
    if (this.#running === 0) this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    atEndOfTurn(this.#departScheduled);
  }

  readonly #departScheduled = (): void => {
    this.#kept = !this.#kept && this.#lastCallers >= BUSY;
    if (this.#kept) {
      atEndOfTurn(this.#departScheduled);
      return;
    }
    this.#scheduled = false;
    this.#depart();
  };

  /** Sends what waits, in bounded calls. */
  #depart(): void {
    this.#dropLate();
    do {
      const loads = this.#take();
      if (loads.length === 0) return;
      void this.#send(loads);
    } while (!this.#serial);
  }

  /** Fails what has waited in vain for too long to be sent. */
  #dropLate(): void {
    const intime = this.#waiting.findIndex((load) => !isLate(this.#sinceOf(load)));
    const late = this.#waiting.splice(0, intime === -1 ? this.#waiting.length : intime);
    for (const { reject } of late) reject(gaveUp());
  }

  #sinceOf({ at }: Load<Item, Result>): number {
    return Math.max(at, this.#answeredAt);
  }

  /** As much of what waits as one call may have. */
  #take(): Load<Item, Result>[] {
    let items = 0;
    let weight = 0;
    let count = 0;
    for (const load of this.#waiting) {
      items += load.items.length;
      weight += load.weight;
      if (count > 0 && (items > this.#maxItems || weight > this.#maxWeight)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #send(loads: readonly Load<Item, Result>[]): Promise<void> {
    this.#running++;
    this.#lastCallers = loads.length;
    try {
      const [first] = loads;
      if (first === undefined) return;
      const items = loads.length === 1 ? first.items : loads.flatMap((load) => load.items);
      const reply = await this.#run(items, this.#sinceOf(first));
      this.#answeredAt = performance.now();
      let at = 0;
      for (const { items, resolve } of loads) {
        const end = at + items.length;
        resolve({ now: reply.now, dueAt: reply.dueAt, results: reply.results.slice(at, end) });
        at = end;
      }
    } catch (error) {
      // Which of them were done is not known: each caller is told so.
      for (const { reject } of loads) reject(error);
    } finally {
      this.#running--;
      // Not at once: what else this turn has read travels along.
      if (this.#running === 0 && this.#waiting.length > 0) this.#schedule();
    }
  }
}
