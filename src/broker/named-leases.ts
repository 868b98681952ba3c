import type { Grant } from '../domain/task.ts';
import type { Departure, LeaseReply } from './broker.ts';
import { mintToken } from './token-mint.ts';
import { WaitLine } from './wait-line.ts';

const GRAIN_MS = 20;

const NOTHING: LeaseReply = { outcome: 'granted', grants: [] };

/** How somebody asks under a name. */
interface Asking {
  requestId: string;
  /** Null: for as long as the call takes. */
  waitMs: number | null;
  signal: Departure;
  /** Whether one more may share a call that waits. */
  hasRoom: () => boolean;
}

/** Makes the call: `token` is to be that of its grants, `signal` is aborted when all who asked have gone. */
type Run = (token: string, signal: Departure, waitMs: number) => Promise<LeaseReply>;

/** Returns what was granted, under the request id if any. */
export type GiveBack = (grants: readonly Grant[], requestId: string | null) => Promise<void>;

type Asker = PromiseWithResolvers<LeaseReply>;

/** A call under way, which all who ask under its name meanwhile share. */
interface Call {
  readonly requestId: string;
  readonly askers: Set<Asker>;
  readonly allGone: AbortController;
  /** Nothing is left to be done for it. Never rejects. */
  ended: Promise<void>;
}

/** Grants of one call, and the replies that tell of them. */
interface Delivery {
  readonly name: string;
  readonly requestId: string;
  readonly grants: readonly Grant[];
  /** Replies of which it is not known yet whether they were written. */
  open: number;
  /** Whether any of them was. */
  written: boolean;
}

/**
 * Lease calls that have a name, for clients that are not sure of what became of a call and make it again. Calls with
 * one name that are under way together are one and share its grants, and what they are granted counts as delivered when
 * any reply that tells of it was written.
 */
export class NamedLeases {
  readonly #giveBack: GiveBack;
  readonly #calls = new Map<string, Call>();
  /** By lease token, while there are open replies. */
  readonly #deliveries = new Map<string, Delivery>();
  /** By name: a call must not find what is about to be given back. */
  readonly #givingBack = new Map<string, Promise<void>>();
  readonly #ends = new WaitLine<() => void>(GRAIN_MS, (end) => end());
  #sharing = 0;

  /** @param giveBack never rejects */
  constructor(giveBack: GiveBack) {
    this.#giveBack = giveBack;
  }

  /** How many wait for a call beside the one who began it. */
  get sharing(): number {
    return this.#sharing;
  }

  /** Grants that are kept because it is not known yet what became of all replies that tell of them. */
  get undecided(): number {
    return this.#deliveries.size;
  }

  /** Joins the call of this name that is under way, or makes one. Whoever is gone is answered nothing. */
  async call(name: string, asking: Asking, run: Run): Promise<LeaseReply> {
    const { waitMs, signal } = asking;
    const until = performance.now() + (waitMs ?? 0);
    for (;;) {
      const left = Math.max(0, until - performance.now());
      const known = this.#calls.get(name);
      if (!known) return this.#join(this.#begin(name, asking.requestId, left, run), signal, null);
      if (known.allGone.signal.aborted) {
        // Nobody waits for it any more, and what it may be granted is given back.
        await known.ended;
        continue;
      }
      if (left > 0 && !asking.hasRoom()) return { outcome: 'too_many_waiters' };
      const reply = await this.#join(known, signal, waitMs === null ? null : left);
      // Whoever began the call may not have waited for as long.
      const early = waitMs !== null && performance.now() < until && !signal.aborted;
      if (!early || reply.outcome !== 'granted' || reply.grants.length > 0) return reply;
    }
  }

  /** Resolves when no call is under way. */
  async idle(): Promise<void> {
    while (this.#calls.size > 0) await Promise.all([...this.#calls.values()].map(({ ended }) => ended));
  }

  /** A reply that tells of these grants was written. */
  written(grants: readonly Grant[]): void {
    if (this.#deliveries.size === 0) return;
    for (const token of new Set(grants.map((grant) => grant.token))) {
      const delivery = this.#deliveries.get(token);
      if (!delivery) continue;
      delivery.written = true;
      delivery.open--;
      if (delivery.open === 0) this.#deliveries.delete(token);
    }
  }

  /** A reply that tells of these grants was not written: they are given back when no other was. Never rejects. */
  async lost(grants: readonly Grant[]): Promise<void> {
    await Promise.all([...Map.groupBy(grants, ({ token }) => token)].map(([token, some]) => this.#lost(token, some)));
  }

  async #lost(token: string, grants: readonly Grant[]): Promise<void> {
    const delivery = this.#deliveries.get(token);
    if (!delivery) return this.#giveBack(grants, null);
    const { name, requestId } = delivery;
    delivery.open--;
    // A call under way may be about to tell of them too.
    for (let call = this.#calls.get(name); call && delivery.open === 0; call = this.#calls.get(name)) await call.ended;
    if (delivery.open > 0 || this.#deliveries.get(token) !== delivery) return;
    this.#deliveries.delete(token);
    if (delivery.written) return;
    const giving = this.#giveBack(delivery.grants, requestId);
    this.#givingBack.set(name, giving);
    await giving;
    if (this.#givingBack.get(name) === giving) this.#givingBack.delete(name);
  }

  #begin(name: string, requestId: string, waitMs: number, run: Run): Call {
    const call: Call = { requestId, askers: new Set(), allGone: new AbortController(), ended: Promise.resolve() };
    this.#calls.set(name, call);
    call.ended = this.#run(name, call, waitMs, run);
    return call;
  }

  async #run(name: string, { requestId, askers, allGone }: Call, waitMs: number, run: Run): Promise<void> {
    try {
      await this.#givingBack.get(name);
      const token = mintToken();
      const reply = await run(token, allGone.signal, waitMs);
      if (reply.outcome === 'granted') this.#tell({ name, requestId }, token, reply.grants, askers.size);
      for (const asker of askers) asker.resolve(reply);
    } catch (error) {
      for (const asker of askers) asker.reject(error);
    } finally {
      this.#calls.delete(name);
    }
  }

  /** Replies are about to tell of these grants. Those with another token than the call's were told of before. */
  #tell(called: Pick<Delivery, 'name' | 'requestId'>, token: string, grants: readonly Grant[], replies: number): void {
    if (replies === 0) return;
    for (const [granted, some] of Map.groupBy(grants, (grant) => grant.token)) {
      const delivery = this.#deliveries.get(granted);
      if (delivery) delivery.open += replies;
      else this.#deliveries.set(granted, { ...called, grants: some, open: replies, written: granted !== token });
    }
  }

  /** @param endsMs after which the asker is answered nothing; null where the call itself sees to it */
  async #join({ askers, allGone }: Call, signal: Departure, endsMs: number | null): Promise<LeaseReply> {
    const asker: Asker = Promise.withResolvers();
    const leave = (): void => {
      if (!this.#part(askers, asker)) return;
      if (askers.size === 0) allGone.abort();
      asker.resolve(NOTHING);
    };
    if (askers.size > 0) this.#sharing++;
    askers.add(asker);
    const slot = endsMs === null ? null : this.#ends.enter(leave, endsMs);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    try {
      return await asker.promise;
    } finally {
      signal.removeEventListener('abort', leave);
      if (slot !== null) this.#ends.leave(slot);
      this.#part(askers, asker);
    }
  }

  #part(askers: Set<Asker>, asker: Asker): boolean {
    if (!askers.delete(asker)) return false;
    if (askers.size > 0) this.#sharing--;
    return true;
  }
}
