/** What a number must be. */
export interface Target {
  is: '<' | '<=' | '>' | '>=' | '=';
  value: number;
}

/** One number of a figure. */
export interface Row {
  /** In words, for the table. */
  what: string;
  unit: '' | '×' | 'ms' | 'µs' | 's' | 'B' | 'KiB' | 'MiB' | '%' | '/s';
  measured: number;
  /** Null: told to put the others into proportion. */
  target: Target | null;
  /** All that was measured for it, by side. */
  samples: Record<string, readonly number[]>;
}

/** What a figure works with. */
export interface Bench {
  /** A short dose, to see that everything works. */
  quick: boolean;
  /** The number for a whole run, or for a short dose. */
  dose(whole: number, quick: number): number;
  /** Tells whoever is watching what goes on. */
  progress(text: string): void;
  /** Adds a condition under which the figure was measured: durability, pinning, what is not equal. */
  condition(text: string): void;
  /** Adds why a part of the figure was left out. */
  skip(text: string): void;
}

/** One figure of the table: measured by itself, with servers of its own. */
export interface Figure {
  /** As it is asked for: `s1`. */
  id: string;
  title: string;
  /** How long it may take, in ms, unless something hangs; a few minutes when left out. */
  longestMs?: number;
  run(bench: Bench): Promise<Row[]>;
}

export function isMet({ measured, target }: Row): boolean | null {
  if (target === null) return null;
  switch (target.is) {
    case '<':
      return measured < target.value;
    case '<=':
      return measured <= target.value;
    case '>':
      return measured > target.value;
    case '>=':
      return measured >= target.value;
    case '=':
      return measured === target.value;
  }
}
