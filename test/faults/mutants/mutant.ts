import type { InvariantName } from '../checker/invariant.ts';
import type { HomeName } from '../homes/home.ts';

/** One place in the source, and what stands there instead. */
export interface Edit {
  file: string;
  /** Stands there exactly once. */
  find: string;
  replace: string;
}

/** A deliberate bug, of a kind that queues have had. The checker has to see it. */
export interface Mutant {
  name: string;
  title: string;
  home: HomeName;
  /** Faults under which it shows, one after the other. */
  faults: readonly string[];
  /** The invariants of which it must break one. */
  breaks: readonly InvariantName[];
  edits: readonly Edit[];
}
