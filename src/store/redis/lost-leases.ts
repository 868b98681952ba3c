import type { LeaseCall, SettleItem, SettleOutcome, Stamped } from '../store.ts';
import * as replies from './replies.ts';
import type { Shards } from './shards.ts';

/** How often tasks granted by a call whose reply was lost are looked for, until they are given back. */
const RECOVERY_MS = 500;

interface LostBatch {
  batch: string;
  tokens: ReadonlySet<string>;
  /** It is being given back. */
  underWay: Promise<void> | null;
}

export interface LostLeasesOptions {
  shards: Shards;
  settle: (items: readonly SettleItem[]) => Promise<Stamped<SettleOutcome>>;
  /** Tasks of the queue have become ready again. */
  onReadied: (queue: string) => void;
}

/**
 * Lease calls whose reply never came. Whatever they were granted has no worker, and is released with its attempt and
 * its place as soon as the server answers.
 */
export class LostLeases {
  readonly #options: LostLeasesOptions;
  /** One a shard: a lane makes no other call before that one is cleared up. */
  readonly #lost = new Map<number, LostBatch>();
  #recovery: NodeJS.Timeout | undefined;

  constructor(options: LostLeasesOptions) {
    this.#options = options;
  }

  /**
   * The reply to a call is lost for good. Lease calls with a request id are left alone: who asks again under that
   * id finds their leases, and must be able to keep them.
   * @param batch as the operation keeps its grants
   */
  add(shard: number, batch: string, calls: readonly LeaseCall[]): void {
    const tokens = new Set(calls.filter(({ requestId }) => requestId === null).map(({ token }) => token));
    this.#lost.set(shard, { batch, tokens, underWay: null });
    this.#recovery ??= setInterval(() => {
      for (const lost of this.#lost.keys()) this.giveBack(lost).catch(() => {});
    }, RECOVERY_MS);
    this.#recovery.unref();
  }

  /** Whether there is something of the shard to be given back. */
  has(shard: number): boolean {
    return this.#lost.has(shard);
  }

  /**
   * Releases what a lost call of the shard has granted, if there is one. To be awaited before the shard's next lease
   * call, in whose grants those of the lost one would be forgotten.
   * @throws StoreError
   */
  async giveBack(shard: number): Promise<void> {
    const lost = this.#lost.get(shard);
    if (lost === undefined) return;
    lost.underWay ??= this.#release(shard, lost).finally(() => {
      lost.underWay = null;
    });
    await lost.underWay;
  }

  async #release(shard: number, lost: LostBatch): Promise<void> {
    const { shards, settle, onReadied } = this.#options;
    const { result } = await shards.ask('lost-leases', shard, [lost.batch]);
    const granted = replies.list(result).map(replies.text);
    const items: SettleItem[] = [];
    for (let at = 0; at < granted.length; at += 2) {
      const [id = '', token = ''] = granted.slice(at, at + 2);
      if (lost.tokens.has(token)) items.push({ verb: 'release', id, token, delayMs: null });
    }
    if (items.length > 0) {
      const { results } = await settle(items);
      for (const outcome of results) {
        if (outcome.outcome === 'settled') onReadied(outcome.queue);
        // A lease that ran out meanwhile is refused, but the task is there for another.
        else if (outcome.readied !== undefined) onReadied(outcome.readied);
      }
    }
    if (this.#lost.get(shard) === lost) this.#lost.delete(shard);
    if (this.#lost.size === 0) this.close();
  }

  /** Looks for nothing any more. */
  close(): void {
    clearInterval(this.#recovery);
    this.#recovery = undefined;
  }
}
