import type { Load } from '../load/load.ts';
import type { Home, HomeName } from '../homes/home.ts';
import type { Promises } from '../history/event.ts';

/** What a fault is done to, and what it may draw from. */
export interface Scene {
  home: Home;
  load: Load;
  /** A whole number from 0 up to, and without, `below`, as the seed has it. */
  pick: (below: number) => number;
}

/** A fault that is on. */
interface Injected {
  /** To whom, in words. */
  what: string;
  /** To whom, where that is one: the name of a worker's process, or the base URL of a broker. */
  whom?: string;
  /**
   * Ends it; resolves when whatever was ended or held runs again.
   * @param mended to be called once the store can do everything, where more is waited for after that
   */
  heal(mended: () => void): Promise<void>;
}

export interface Fault extends Promises {
  name: string;
  /** In words for the table of results: what is done. */
  title: string;
  homes: readonly HomeName[];
  /** It takes seconds to heal: it is given half as often as others. */
  slow?: true;
  /** How long it is on. */
  holdMs: number;
  inject(scene: Scene): Promise<Injected>;
}
