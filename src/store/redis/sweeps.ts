import type { SweepReport } from '../store.ts';
import { storeError } from './failures.ts';
import * as replies from './replies.ts';
import type { Shards } from './shards.ts';

/** Tasks moved by one sweep of a shard. */
const SWEEP_ITEMS = 128;
/** A shard whose sweep has failed is due again after this; others go on meanwhile. */
const RETRY_MS = 1000;

interface Swept {
  now: number;
  counts: number[];
  names: string[];
}

/** Sweeps of the shards, each by itself: one that fails takes nothing from what is told of the others. A step lasts as long as its slowest. */
export class Sweeps {
  readonly #shards: Shards;
  /** Shards whose last sweep has failed, and why. */
  readonly #failed = new Map<number, Error>();

  constructor(shards: Shards) {
    this.#shards = shards;
  }

  /**
   * One step of every shard in which something is due.
   * @throws StoreError when all of them fail
   */
  async step(): Promise<SweepReport> {
    const report = { now: this.#shards.now(), promoted: 0, reclaimed: 0, expired: 0, pruned: 0 };
    const readied = new Set<string>();
    const asked = this.#shards.toSweep();
    const steps = (await Promise.all(asked.map((shard) => this.#try(shard)))).filter((swept) => swept !== null);
    const [failure] = this.#failed.values();
    if (failure !== undefined && steps.length === 0 && asked.length > 0) throw failure;
    if (steps.length > 0) report.now = Math.max(...steps.map(({ now }) => now));
    for (const { counts, names } of steps) {
      const [promoted = 0, reclaimed = 0, expired = 0, pruned = 0] = counts;
      report.promoted += promoted;
      report.reclaimed += reclaimed;
      report.expired += expired;
      report.pruned += pruned;
      for (const name of names) readied.add(name);
    }
    const swept: SweepReport = { ...report, dueAt: this.#shards.nextDue(), readied: [...readied] };
    if (failure !== undefined) swept.failure = failure;
    return swept;
  }

  /** Null when it has failed. */
  async #try(shard: number): Promise<Swept | null> {
    // Before the call, so that what other calls learn while it is under way is kept.
    this.#shards.forgetDue(shard);
    try {
      const swept = await this.#sweep(shard);
      this.#failed.delete(shard);
      return swept;
    } catch (error) {
      this.#shards.expect(shard, this.#shards.now() + RETRY_MS);
      this.#failed.set(shard, error instanceof Error ? error : storeError(error));
      return null;
    }
  }

  async #sweep(shard: number): Promise<Swept> {
    const { now, result } = await this.#shards.ask('sweep', shard, [SWEEP_ITEMS]);
    const [due, promoted, reclaimed, expired, pruned, names] = replies.list(result);
    const dueAt = replies.maybeNumber(due);
    if (dueAt !== null) this.#shards.expect(shard, dueAt);
    return {
      now,
      counts: [promoted, reclaimed, expired, pruned].map(replies.number),
      names: replies.list(names).map(replies.text),
    };
  }
}
