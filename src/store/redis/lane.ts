import type { Stamped } from '../store.ts';

/** Items of one caller, to be answered together. */
interface Load<Item, Result> {
  items: readonly Item[];
  weight: number;
  resolve: (reply: Stamped<Result>) => void;
  reject: (error: unknown) => void;
}

/**
 * One operation on one shard. Calls that come while one is under way, or within one turn of the event loop, share
 * the next script call, so that under load the cost of a script call is spread over many items. A lone call waits
 * for nothing but the end of the turn.
 */
export class Lane<Item, Result> {
  readonly #maxItems: number;
  readonly #maxWeight: number;
  readonly #run: (items: readonly Item[]) => Promise<Stamped<Result>>;
  #waiting: Load<Item, Result>[] = [];
  #scheduled = false;
  #running = 0;

  /**
   * @param maxItems, maxWeight bounds of one script call; a single load may not exceed them
   * @param run answers in the order of the items
   */
  constructor(maxItems: number, maxWeight: number, run: (items: readonly Item[]) => Promise<Stamped<Result>>) {
    this.#maxItems = maxItems;
    this.#maxWeight = maxWeight;
    this.#run = run;
  }

  call(items: readonly Item[], weight: number): Promise<Stamped<Result>> {
    const { promise, resolve, reject } = Promise.withResolvers<Stamped<Result>>();
    this.#waiting.push({ items, weight, resolve, reject });
    if (!this.#scheduled && this.#running === 0) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#depart();
      });
    }
    return promise;
  }

  /** Sends what waits, in bounded calls that travel together. */
  #depart(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    let loads: Load<Item, Result>[] = [];
    let items = 0;
    let weight = 0;
    for (const load of waiting) {
      if (loads.length > 0 && (items + load.items.length > this.#maxItems || weight + load.weight > this.#maxWeight)) {
        void this.#send(loads);
        loads = [];
        items = 0;
        weight = 0;
      }
      loads.push(load);
      items += load.items.length;
      weight += load.weight;
    }
    if (loads.length > 0) void this.#send(loads);
  }

  async #send(loads: readonly Load<Item, Result>[]): Promise<void> {
    this.#running++;
    try {
      const reply = await this.#run(loads.length === 1 ? (loads[0]?.items ?? []) : loads.flatMap(({ items }) => items));
      let at = 0;
      for (const { items, resolve } of loads) {
        resolve({ ...reply, results: reply.results.slice(at, at + items.length) });
        at += items.length;
      }
    } catch (error) {
      // Which of them were done is not known: each caller is told so.
      for (const { reject } of loads) reject(error);
    } finally {
      this.#running--;
      if (this.#running === 0 && this.#waiting.length > 0) this.#depart();
    }
  }
}
