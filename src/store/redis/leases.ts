import { randomBytes } from 'node:crypto';
import type { Granted, LeaseCall, Stamped } from '../store.ts';
import { encodeLease } from './arguments.ts';
import type { LostLeases } from './lost-leases.ts';
import { type LeaseOutcome, leaseOutcome } from './outcomes.ts';
import { ANSWER_MS, gaveUp } from './patience.ts';
import { UnexpectedReply } from './replies.ts';
import { earlier, operation, type Part, type Shards } from './shards.ts';

const NOTHING: LeaseOutcome = { grants: [], held: null, readied: null };

/** Lease calls: one script for all that go to a shard at once, so that each queue serves them in their order. */
export class RedisLeases {
  readonly #shards: Shards;
  readonly #lost: LostLeases;

  /** @param lost told of calls whose reply never came */
  constructor(shards: Shards, lost: LostLeases) {
    this.#shards = shards;
    this.#lost = lost;
  }

  async lease(calls: readonly LeaseCall[]): Promise<Granted> {
    const { now, dueAt, results } = await this.#shards.byQueue(this.#lease, calls, ({ queue }) => queue);
    const held = new Map(results.flatMap((result) => (result.held === null ? [] : [[result.held.queue, result.held]])));
    const readied = new Set(results.flatMap((result) => result.readied ?? []));
    const granted: Granted = { now, dueAt, results: results.map(({ grants }) => grants) };
    if (held.size > 0) granted.held = [...held.values()];
    if (readied.size > 0) granted.readied = [...readied];
    return granted;
  }

  readonly #lease = operation<LeaseCall, LeaseOutcome>(
    async (part, calls) => {
      if (this.#lost.has(part.shard)) await this.#giveBack(part);
      // Not from now: a server that lets no writes through may still answer what only reads.
      return this.#leaseFrom(part, calls);
    },
    { weightOf: ({ max }) => max, serial: true },
  );

  /** @throws StoreError also when that takes longer than a call may; it goes on then */
  async #giveBack({ shard, since }: Part): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(gaveUp()), since + ANSWER_MS - performance.now());
    try {
      await Promise.race([this.#lost.giveBack(shard), promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #leaseFrom(part: Part, calls: readonly LeaseCall[]): Promise<Stamped<LeaseOutcome>> {
    const batch = randomBytes(9).toString('base64url');
    const byQueue = [...Map.groupBy(calls, ({ queue }) => queue)];
    const args: (string | number)[] = [byQueue.length, batch, 0];
    for (const [queue, some] of byQueue) {
      args.push(queue, some.length);
      for (const call of some) encodeLease(call, args);
    }
    const sorted = byQueue.length === 1 ? calls : byQueue.flatMap(([, some]) => some);
    const tired: LeaseCall[] = [];
    const found = new Map<LeaseCall, LeaseOutcome>();
    const decode = (reply: unknown, index: number): void => {
      const call = sorted[index];
      if (call === undefined) throw new UnexpectedReply('as many results as calls', reply);
      const { more, ...outcome } = leaseOutcome(reply, call);
      found.set(call, outcome);
      if (more && outcome.grants.length === 0) tired.push(call);
    };
    const stamped = await this.#shards
      .askEach('lease', part, args, decode, (sent) => {
        // Asked again, it looks for what it granted before.
        sent[2] = 1;
      })
      .catch((error: unknown) => {
        this.#lost.add(part.shard, batch, calls);
        throw error;
      });
    // Nothing was found, but only because cancelled tasks stood in front: each try clears some of them away.
    let { now, dueAt } = stamped;
    if (tired.length > 0) {
      const again = await this.#leaseFrom({ ...part, since: performance.now() }, tired).catch((error: unknown) => {
        // What others were granted must reach them, and the next try of the tired ones is the caller's.
        if (![...found.values()].some(({ grants }) => grants.length > 0)) throw error;
        return null;
      });
      if (again !== null) {
        for (const [index, call] of tired.entries()) found.set(call, again.results[index] ?? NOTHING);
        now = again.now;
        dueAt = earlier(dueAt, again.dueAt);
      }
    }
    return { now, dueAt, results: calls.map((call) => found.get(call) ?? NOTHING) };
  }
}
