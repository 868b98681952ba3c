/** Ends a call in which nothing has come for too long. */
export class Silence {
  readonly #over = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #allowedMs = 0;

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Why the call was ended; null while it was not. */
  get reason(): string | null {
    return this.#over.signal.aborted ? `nothing has come from it for ${this.#allowedMs / 1000} s` : null;
  }

  /** From now on nothing may come for so long. */
  allow(ms: number): void {
    clearTimeout(this.#timer);
    this.#allowedMs = ms;
    this.#timer = setTimeout(() => this.#over.abort(), ms);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
