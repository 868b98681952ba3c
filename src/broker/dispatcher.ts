import { LIMITS } from '../domain/limits.ts';
import type { Grant } from '../domain/task.ts';
import type { Granted, HeldQueue, LeaseCall, Stamped, Store } from '../store/store.ts';
import type { LeaseReply, LeaseRequest } from './broker.ts';
import { Fifo, type Place } from './fifo.ts';
import type { GiveBack } from './named-leases.ts';
import { QueueTurns, type Turn } from './queue-turns.ts';
import { type Slot, WaitLine } from './wait-line.ts';

/** Waits end on a grain of this size, so that many share a timer. */
const GRAIN_MS = 20;
/** How often queues with waiters are asked although no word came from another process: words can be lost. */
const POLL_MS = 2000;
/** At most this many tasks, and waiters, in one store call. */
const MAX_CALL = 100;

/** A long-poll that waits. */
interface Waiter {
  readonly request: LeaseRequest;
  /** Null: its queues in the order named. */
  readonly turn: Turn | null;
  readonly token: string;
  readonly settle: (outcome: { grants: readonly Grant[] } | { error: unknown }) => void;
  /** A store call that may grant it a task is under way; nobody else may ask for it meanwhile. */
  busy: boolean;
  gone: boolean;
  /** Null once the wait has run out. */
  slot: Slot<Waiter> | null;
  /** Its places in the lines of its queues, in the order of these. */
  readonly places: Place<Waiter>[];
  /** Queues in which it was first in line while it was busy: they wait for it, so that nobody overtakes it. Null: none. */
  holdsUp: Set<string> | null;
}

/** The waiters of one queue, first come first served. */
interface Line {
  readonly waiters: Fifo<Waiter>;
  pumping: boolean;
  /** Tasks that came while a call was under way, or while the first in line was busy: no wake-up is lost. */
  wanted: number;
  /** Runs when a rate limit allows the next grant. */
  opening?: NodeJS.Timeout;
}

export interface DispatcherOptions {
  /** Whether one more may wait. */
  hasRoom: () => boolean;
  onReply: (reply: Stamped<unknown>) => void;
  /** Takes back what was granted to somebody who has gone. Never rejects. */
  giveBack: GiveBack;
}

/**
 * Parked long-polls. A poll that finds nothing waits in memory, without a store call, a connection or a timer
 * of its own; tasks that become ready wake as many waiters as there are tasks, in the order they came.
 */
export class Dispatcher {
  readonly #store: Store;
  readonly #options: DispatcherOptions;
  readonly #lines = new Map<string, Line>();
  readonly #turns = new QueueTurns();
  readonly #ends = new WaitLine<Waiter>(GRAIN_MS, (waiter) => this.#leave(waiter, { grants: [] }));
  #size = 0;
  /** Lease calls under way, and who waits until there are none. */
  #calls = 0;
  #idle: PromiseWithResolvers<void> | null = null;
  #poll: NodeJS.Timeout | undefined;
  #draining = false;

  constructor(store: Store, options: DispatcherOptions) {
    this.#store = store;
    this.#options = options;
    store.wakes?.onReady((queue) => this.wake(queue, 1));
  }

  /** All waiters of this process. */
  get size(): number {
    return this.#size;
  }

  /** Waiters of one queue in this process. */
  waiting(queue: string): number {
    return this.#lines.get(queue)?.waiters.size ?? 0;
  }

  /**
   * Leases, waiting up to `waitMs` for the first task. A client that has gone gets no grant: one that was
   * under way has been given back when this ends.
   * @param token of what is granted; grants with another one are those of an earlier call with the request id
   */
  async lease(request: LeaseRequest, token: string): Promise<LeaseReply> {
    const known = request.requestId === null ? [] : await this.#recall(request, request.requestId);
    if (known.length > 0 || request.signal.aborted) return { outcome: 'granted', grants: known };
    const waits = request.waitMs > 0 && !this.#draining;
    if (waits && !this.#options.hasRoom()) return { outcome: 'too_many_waiters' };
    const fair = request.order === 'fair' && request.queues.length > 1;
    const turn = fair ? this.#turns.of(request.queues) : null;
    const grants = await (waits ? this.#wait(request, token, turn) : this.#take(request, token, request.queues, turn));
    if (!request.signal.aborted || grants.length === 0) return { outcome: 'granted', grants };
    await this.#options.giveBack(
      grants.filter((grant) => grant.token === token),
      request.requestId,
    );
    return { outcome: 'granted', grants: [] };
  }

  /** `tasks` tasks have become ready in a queue; 0: it goes on with what it knew of. */
  wake(queue: string, tasks: number): void {
    const line = this.#lines.get(queue);
    if (!line) return;
    line.wanted = Math.min(line.wanted + tasks, Number.MAX_SAFE_INTEGER);
    if (!line.pumping) void this.#pump(queue, line);
  }

  /** Every parked poll gets its empty answer; from now on nobody waits. */
  drain(): void {
    this.#draining = true;
    clearInterval(this.#poll);
    const waiters = [...this.#lines.values()].flatMap((line) => [...line.waiters]);
    for (const waiter of waiters) if (!waiter.busy) this.#leave(waiter, { grants: [] });
  }

  /** What an earlier call with this request id was granted. */
  async #recall({ queues }: LeaseRequest, requestId: string): Promise<readonly Grant[]> {
    const reply = await this.#store.recall(queues.map((queue) => ({ queue, requestId })));
    this.#options.onReply(reply);
    return reply.results.flat().slice(0, LIMITS.maxLease);
  }

  /** Resolves when no lease call is under way. */
  async idle(): Promise<void> {
    while (this.#calls > 0) {
      this.#idle ??= Promise.withResolvers();
      await this.#idle.promise;
    }
  }

  async #leaseFrom(calls: readonly LeaseCall[]): Promise<Granted> {
    this.#calls++;
    try {
      const reply = await this.#store.lease(calls);
      this.#options.onReply(reply);
      if (reply.readied) for (const queue of reply.readied) this.wake(queue, 1);
      if (reply.held) for (const held of reply.held) this.#awaitOpening(held, reply.now);
      return reply;
    } finally {
      this.#calls--;
      if (this.#calls === 0) {
        this.#idle?.resolve();
        this.#idle = null;
      }
    }
  }

  /** Has waiters asked for when the rate limit of their queue lets go; the end of a lease is told of in other ways. */
  #awaitOpening({ queue, opensAt }: HeldQueue, now: number): void {
    const line = this.#lines.get(queue);
    if (!line || opensAt === null) return;
    clearTimeout(line.opening);
    line.opening = setTimeout(() => this.wake(queue, 1), Math.max(1, opensAt - now));
    line.opening.unref();
  }

  /** Asks the queues until `max` tasks are found: in their order, or each for its share, and those that had it for the rest. */
  async #take(
    request: LeaseRequest,
    token: string,
    queues: readonly string[],
    turn: Turn | null,
  ): Promise<readonly Grant[]> {
    const { leaseMs, workerId, requestId } = request;
    const asking = turn === null ? [...queues] : turn.order.filter((queue) => queues.includes(queue));
    const grants: Grant[] = [];
    for (let at = 0; at < asking.length && grants.length < request.max && !request.signal.aborted; at++) {
      const queue = asking[at] ?? '';
      const left = request.max - grants.length;
      const max = turn === null || at >= queues.length ? left : Math.ceil(left / (queues.length - at));
      turn?.asks(queue, max);
      let granted: readonly Grant[] = [];
      try {
        const reply = await this.#leaseFrom([{ queue, token, max, leaseMs, workerId, requestId }]);
        granted = reply.results[0] ?? [];
        grants.push(...granted);
      } catch (error) {
        // What earlier queues gave is an answer; the failure comes to light with the next call.
        if (grants.length === 0) throw error;
        break;
      } finally {
        turn?.got(queue, max, granted.length);
      }
      // Asked again under its request id, a queue would only repeat what it has granted.
      if (at < queues.length && requestId === null && granted.length === max && max < left) asking.push(queue);
    }
    return grants;
  }

  #wait(request: LeaseRequest, token: string, turn: Turn | null): Promise<readonly Grant[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Grant[]>();
    const waiter: Waiter = {
      request,
      turn,
      token,
      settle: (outcome) => ('error' in outcome ? reject(outcome.error) : resolve(outcome.grants)),
      busy: true,
      gone: false,
      slot: null,
      places: [],
      holdsUp: null,
    };
    // A queue in which others are parked has nothing to give at the moment.
    const hopeful = (turn?.order ?? request.queues).filter((queue) => !this.#knownEmpty(queue));
    // Several in which nobody stands are asked in their order; all else goes through their lines, so that nobody is overtaken.
    const open = hopeful.filter((queue) => this.waiting(queue) === 0);
    const direct = open.length > 1 ? open : [];
    this.#enter(waiter);
    waiter.busy = direct.length > 0;
    if (waiter.busy) {
      void this.#take(request, token, direct, turn).then(
        (grants) => this.#asked(waiter, { grants }),
        (error: unknown) => this.#failed(waiter, error),
      );
    }
    for (const queue of hopeful) if (!direct.includes(queue)) this.wake(queue, request.max);
    return promise;
  }

  #knownEmpty(queue: string): boolean {
    const line = this.#lines.get(queue);
    if (!line || line.pumping || line.wanted > 0) return false;
    for (const waiter of line.waiters) if (!waiter.busy) return true;
    return false;
  }

  #enter(waiter: Waiter): void {
    this.#size++;
    for (const queue of waiter.request.queues) {
      let line = this.#lines.get(queue);
      if (!line) {
        line = { waiters: new Fifo(), pumping: false, wanted: 0 };
        this.#lines.set(queue, line);
        this.#store.wakes?.watch(queue);
      }
      waiter.places.push(line.waiters.enter(waiter));
    }
    waiter.slot = this.#ends.enter(waiter, waiter.request.waitMs);
    waiter.request.signal.addEventListener('abort', () => this.#leave(waiter, { grants: [] }), { once: true });
    if (this.#store.shared && this.#poll === undefined) {
      this.#poll = setInterval(() => this.#pollAll(), POLL_MS);
      this.#poll.unref();
    }
  }

  /** A store call for the waiter has ended. */
  #asked(waiter: Waiter, outcome: { grants: readonly Grant[] }): void {
    waiter.busy = false;
    if (waiter.gone) waiter.settle(outcome);
    else if (outcome.grants.length > 0 || this.#draining || waiter.slot === null) {
      this.#leave(waiter, outcome);
    } else this.#letPass(waiter);
  }

  /** The lines that it holds up go on: once all that ended with the same call are free, so that they are asked for together. */
  #letPass(waiter: Waiter): void {
    const { holdsUp } = waiter;
    if (holdsUp === null) return;
    waiter.holdsUp = null;
    const goOn = (): void => {
      for (const queue of holdsUp) this.wake(queue, 0);
    };
    // After the line whose call has ended, which goes on in the next microtask: it may be its turn.
    queueMicrotask(() => queueMicrotask(goOn));
  }

  /** The same for one that failed. A client that has gone need not hear of it. */
  #failed(waiter: Waiter, error: unknown): void {
    waiter.busy = false;
    if (waiter.gone) waiter.settle({ grants: [] });
    else this.#leave(waiter, { error });
  }

  #leave(waiter: Waiter, outcome: { grants: readonly Grant[] } | { error: unknown }): void {
    if (waiter.gone) return;
    if (waiter.busy && 'grants' in outcome && outcome.grants.length === 0 && !waiter.request.signal.aborted) {
      // The wait ran out while a call is under way: its outcome is the answer.
      waiter.slot = null;
      return;
    }
    waiter.gone = true;
    if (waiter.slot !== null) this.#ends.leave(waiter.slot);
    this.#size--;
    for (const [index, queue] of waiter.request.queues.entries()) {
      const place = waiter.places[index];
      place?.line.leave(place);
      const line = this.#lines.get(queue);
      if (line?.waiters.size === 0 && !line.pumping) this.#close(queue);
    }
    if (this.#size === 0) {
      clearInterval(this.#poll);
      this.#poll = undefined;
    }
    this.#letPass(waiter);
    // What a call under way grants to a client that has gone is to be given back first.
    if (!waiter.busy) waiter.settle(outcome);
  }

  /** The safety net for tasks that other processes have put into a queue: asks for one waiter of each. */
  #pollAll(): void {
    for (const queue of this.#lines.keys()) this.wake(queue, 1);
  }

  /** Serves a line until its tasks or its waiters run out. */
  async #pump(queue: string, line: Line): Promise<void> {
    line.pumping = true;
    let before: string | null = null;
    while (line.wanted > 0 && line.waiters.size > 0) {
      before = this.#beforeInTurn(queue, line);
      if (before !== null) break;
      const asking = this.#next(queue, line, line.wanted);
      if (asking.length === 0) break;
      line.wanted = 0;
      const found = await this.#ask(queue, line, asking);
      // Where everybody got something there may be more: twice as many are asked next.
      if (found) line.wanted = Math.max(line.wanted, 2 * asking.length);
    }
    line.pumping = false;
    if (line.waiters.size === 0) this.#close(queue);
    else if (before !== null) this.wake(before, 0);
  }

  /** The queue that the first in line is to be asked for before this one, which waits for that. Null: it is this one's turn. */
  #beforeInTurn(queue: string, { waiters }: Line): string | null {
    const { first } = waiters;
    if (!first || first.turn === null || first.busy) return null;
    for (const other of first.turn.order) {
      if (other === queue) return null;
      const line = this.#lines.get(other);
      if (!line || line.pumping || line.wanted === 0 || line.waiters.first !== first) continue;
      first.holdsUp ??= new Set();
      first.holdsUp.add(queue);
      return other;
    }
    return null;
  }

  #close(queue: string): void {
    clearTimeout(this.#lines.get(queue)?.opening);
    this.#lines.delete(queue);
    this.#store.wakes?.unwatch(queue);
  }

  /** The first waiters in line, for about `tasks` tasks; none past one that is busy. */
  #next(queue: string, line: Line, tasks: number): Waiter[] {
    const asking: Waiter[] = [];
    let wanted = 0;
    for (const waiter of line.waiters) {
      if (waiter.busy) {
        waiter.holdsUp ??= new Set();
        waiter.holdsUp.add(queue);
        break;
      }
      if (asking.length > 0 && wanted + waiter.request.max > MAX_CALL) break;
      asking.push(waiter);
      wanted += waiter.request.max;
      if (wanted >= tasks) break;
    }
    return asking;
  }

  /** Answers whether every waiter asked for got at least one task. */
  async #ask(queue: string, line: Line, asking: readonly Waiter[]): Promise<boolean> {
    for (const waiter of asking) {
      waiter.busy = true;
      waiter.turn?.asks(queue, waiter.request.max);
    }
    try {
      const reply = await this.#leaseFrom(
        asking.map(({ token, request }) => {
          const { max, leaseMs, workerId, requestId } = request;
          return { queue, token, max, leaseMs, workerId, requestId };
        }),
      );
      let found = true;
      for (const [index, waiter] of asking.entries()) {
        const grants = reply.results[index] ?? [];
        if (grants.length === 0) found = false;
        waiter.turn?.got(queue, waiter.request.max, grants.length);
        this.#asked(waiter, { grants });
      }
      return found;
    } catch (error) {
      // Whoever waits in this queue must hear that the store fails: an empty answer would be a lie.
      for (const waiter of asking) {
        waiter.turn?.got(queue, waiter.request.max, 0);
        this.#failed(waiter, error);
      }
      for (const waiter of [...line.waiters]) if (!waiter.busy) this.#leave(waiter, { error });
      return false;
    }
  }
}
