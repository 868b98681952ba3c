import type { ServerResponse } from 'node:http';

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
  readonly #wait = new AbortController();
  readonly #giveBack: (held: Held) => void;
  #held: Held | undefined;
  #written = false;

  /** @param giveBack called at most once, with what was {@link hold held} */
  constructor(response: ServerResponse, giveBack: (held: Held) => void) {
    this.#giveBack = giveBack;
    response.once('finish', () => {
      this.#written = true;
    });
    response.once('close', () => {
      if (!this.#written) this.#gone();
    });
    // A client can hang up between the parser and this line; then `close` has passed already.
    if (response.destroyed) this.#gone();
  }

  /** Aborted when the client is gone. */
  get signal(): AbortSignal {
    return this.#wait.signal;
  }

  /** Takes what the reply is about to tell the client. Gives it back at once when the client is gone. */
  hold(held: Held): void {
    if (this.signal.aborted) this.#giveBack(held);
    else this.#held = held;
  }

  #gone(): void {
    this.#wait.abort();
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#giveBack(held);
  }
}
