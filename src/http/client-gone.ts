import type { ServerResponse } from 'node:http';

/** What becomes of what is held: one of these is called, once. */
interface Fates<Held> {
  delivered(held: Held): void;
  /** The client hung up before the reply was written. */
  giveBack(held: Held): void;
}

/**
 * Whether a client has gone: as much of an AbortSignal as waits need, without an event target for every request, of which
 * hardly any is ever told of anything.
 */
class Departure {
  #aborted = false;
  #listeners: (() => void)[] = [];

  get aborted(): boolean {
    return this.#aborted;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners = this.#listeners.filter((known) => known !== listener);
  }

  /** Tells each listener, once. */
  abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

/**
 * What is held for a client until its reply has been written. When the client hangs up first, the wait for it
 * is aborted, and what had been granted to it is given back.
 *
 * It is the response that is watched: the request's own signal fires as soon as a POST body has been read.
 * `finish` says that the whole reply was handed to the operating system, `close` that the connection is done
 * with this reply, whichever way. A reply that was handed over in the instant in which the client hung up
 * counts as written.
 */
export class HeldForClient<Held> {
  /** Aborted when the client is gone. */
  readonly signal = new Departure();
  readonly #fates: Fates<Held>;
  #held: Held | undefined;
  #written = false;

  constructor(response: ServerResponse, fates: Fates<Held>) {
    this.#fates = fates;
    // Both come at most once.
    response.on('finish', () => {
      this.#written = true;
      const held = this.#let();
      if (held !== undefined) fates.delivered(held);
    });
    response.on('close', () => {
      if (!this.#written) this.#gone();
    });
    // A client can hang up between the parser and this line; then `close` has passed already.
    if (response.destroyed) this.#gone();
  }

  /** Takes what the reply is about to tell the client. Gives it back at once when the client is gone. */
  hold(held: Held): void {
    if (this.signal.aborted) this.#fates.giveBack(held);
    else this.#held = held;
  }

  #let(): Held | undefined {
    const held = this.#held;
    this.#held = undefined;
    return held;
  }

  #gone(): void {
    this.signal.abort();
    const held = this.#let();
    if (held !== undefined) this.#fates.giveBack(held);
  }
}
