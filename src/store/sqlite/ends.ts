import type { Wakes } from '../store.ts';

/**
 * Word of tasks that end, for whoever waits for one: also of those that time or a purge ends, of which no reply tells.
 * One process holds the file, so that nobody else makes tasks ready in it.
 */
export class Ends implements Wakes {
  #listener: (id: string | null) => void = () => {};
  /** By the process's own clock; while nobody waits nothing is noted. */
  #wantedUntil = Number.NEGATIVE_INFINITY;
  /** In the transaction under way, whose steps are bounded. */
  #noted: string[] = [];

  onReady(): void {}
  watch(): void {}
  unwatch(): void {}

  onFinished(listener: (id: string | null) => void): void {
    this.#listener = listener;
  }

  async watchTask(_id: string, _queue: string, forMs: number): Promise<void> {
    this.#wantedUntil = Math.max(this.#wantedUntil, performance.now() + forMs);
  }

  /** The transaction under way ends a task, or deletes one that has not ended. */
  note(id: string): void {
    if (performance.now() < this.#wantedUntil) this.#noted.push(id);
  }

  /** The transaction is committed. */
  tell(): void {
    if (this.#noted.length === 0) return;
    const ids = this.#noted;
    this.#noted = [];
    // Not from within the commit: whoever hears of it may ask the store at once.
    queueMicrotask(() => {
      for (const id of ids) this.#listener(id);
    });
  }

  /** The transaction is undone. */
  forget(): void {
    this.#noted = [];
  }
}
