import type { Logger } from 'pino';
import type { EffectiveDurability } from './durability.ts';
import { isWeaker } from './durability.ts';

/** How often the server is looked at: a few short replies. */
const LOOK_MS = 2000;

export interface DurabilityWatchOptions {
  read: () => Promise<EffectiveDurability>;
  /** Of the server, without credentials. */
  location: string;
  log: Logger | undefined;
}

/** Watches how durable the server is, which may change while it runs, and says so in the log once for every change. */
export class DurabilityWatch {
  readonly #options: DurabilityWatchOptions;
  #last: EffectiveDurability | null = null;
  #looking: NodeJS.Timeout | undefined;
  #underWay = false;

  constructor(options: DurabilityWatchOptions) {
    this.#options = options;
  }

  /** @param state as it was found when the store was opened */
  start(state: EffectiveDurability): void {
    if (state.unmet !== null) this.#options.log?.warn(`not ready: ${state.unmet}`);
    this.#last = state;
    this.#looking = setInterval(() => void this.#lookInTurn(), LOOK_MS);
    this.#looking.unref();
  }

  /** A look that takes longer than the time between two is waited for: an older one must not end last. */
  async #lookInTurn(): Promise<void> {
    if (this.#underWay) return;
    this.#underWay = true;
    await this.look();
    this.#underWay = false;
  }

  /** Reads it now. A server that does not answer tells nothing new. */
  async look(): Promise<void> {
    if (this.#looking === undefined) return;
    try {
      this.note(await this.#options.read());
    } catch {
      // Whoever calls is told; when the connection is back it is looked at again.
    }
  }

  /** What was read of the server just now. */
  note(state: EffectiveDurability): void {
    const before = this.#last;
    this.#last = state;
    if (before === null || before.durability === state.durability) return;
    const { location, log } = this.#options;
    const change = `the durability of ${location} was "${before.durability}" and is "${state.durability}" now: ${state.note}`;
    if (isWeaker(state.durability, before.durability)) log?.warn(change);
    else log?.info(change);
  }

  close(): void {
    clearInterval(this.#looking);
    this.#looking = undefined;
  }
}
