import type { Grant } from '../domain/task.ts';
import type { LeaseReply, LeaseRequest } from './broker.ts';

/** Polls of one name that share a call: when all of them have gone, so has the call's client. */
interface Shared {
  reply: Promise<LeaseReply>;
  /** Who still waits. */
  waiting: number;
  /** All who ever joined. */
  joined: number;
  allGone: AbortController;
}

/** What became of a shared grant: it counts as delivered when any of its replies was written. */
interface Delivery {
  outstanding: number;
}

/**
 * Lease calls with a request id. A client that is not sure of its first poll sends a second one with the same id;
 * while both are under way here they are one, and share the grant.
 */
export class NamedPolls {
  readonly #lease: (request: LeaseRequest) => Promise<LeaseReply>;
  readonly #underWay = new Map<string, Shared>();
  readonly #deliveries = new WeakMap<readonly Grant[], Delivery>();

  constructor(lease: (request: LeaseRequest) => Promise<LeaseReply>) {
    this.#lease = lease;
  }

  async lease(request: LeaseRequest, requestId: string): Promise<LeaseReply> {
    const name = [requestId, ...request.queues].join('\n');
    const shared = this.#underWay.get(name) ?? this.#begin(name, request);
    shared.joined++;
    shared.waiting++;
    const leave = (): void => {
      shared.waiting--;
      if (shared.waiting === 0) shared.allGone.abort();
    };
    if (request.signal.aborted) leave();
    else request.signal.addEventListener('abort', leave, { once: true });
    try {
      return await shared.reply;
    } finally {
      request.signal.removeEventListener('abort', leave);
    }
  }

  /** One reply with these grants was not written. True when none of them was, so that they must be given back. */
  undelivered(grants: readonly Grant[]): boolean {
    const delivery = this.#deliveries.get(grants);
    if (!delivery) return true;
    delivery.outstanding--;
    return delivery.outstanding === 0;
  }

  #begin(name: string, request: LeaseRequest): Shared {
    const allGone = new AbortController();
    const shared: Shared = {
      reply: this.#lease({ ...request, signal: allGone.signal }),
      waiting: 0,
      joined: 0,
      allGone,
    };
    this.#underWay.set(name, shared);
    shared.reply = shared.reply
      .then((reply) => {
        if (reply.outcome === 'granted') this.#deliveries.set(reply.grants, { outstanding: shared.joined });
        return reply;
      })
      .finally(() => this.#underWay.delete(name));
    return shared;
  }
}
