/** What a census can find, with what is done about it where that is safe; `mend: null` is only reported. */
export const FAULTS = {
  unlisted: { title: 'a task is missing from a structure that it belongs in', mend: 'put back' },
  stray: { title: 'an entry stands for a task that does not belong there, or for none', mend: 'removed' },
  spent: { title: 'an entry of a line would grant a task that is not ready', mend: 'made harmless' },
  twice: { title: 'a task stands in its line twice', mend: 'given one new place at the back' },
  counter: { title: 'a counter is not what is there', mend: 'counted anew' },
  group: { title: 'how a group stands is not what is there', mend: 'counted anew' },
  stalled: { title: 'a group may run a task, and none of it is ready', mend: 'set going' },
  sequence: { title: 'a number that must be new was given out already', mend: 'moved on' },
  schedule: { title: 'something falls due and nobody would look', mend: 'noted' },
  bodiless: { title: 'a task has lost what its producer sent', mend: 'what is left of it was deleted' },
  orphan: { title: 'something is left behind by what is gone', mend: 'deleted' },
  unheard: { title: 'what workers said of a task is not marked in its record', mend: 'marked' },
  stranded: { title: 'a task is on its way to another queue, and no operation takes it there', mend: 'dead again' },
  receipt: { title: 'a receipt is kept for good, and its operation is over', mend: 'kept for an hour more' },
  unique: { title: 'a unique key is not held by the task that should hold it', mend: 'given back' },
  operation: { title: 'an operation runs for a queue that is gone', mend: 'cancelled' },
  index: { title: 'an index of the file does not fit its table', mend: 'built anew' },
  queue: { title: 'tasks belong to a queue whose record is gone', mend: null },
  unreadable: { title: 'a record cannot be read', mend: null },
  damaged: { title: 'the file is damaged', mend: null },
} as const satisfies Record<string, { title: string; mend: string | null }>;

export type Fault = keyof typeof FAULTS;

/** One thing that is not as it must be, seen in one atomic look. */
export interface Finding {
  fault: Fault;
  /** Null for what belongs to no queue. */
  queue: string | null;
  /** The task, key or counter that it is about. */
  subject: string;
  /** What was seen. */
  detail: string;
  mended: boolean;
}

export interface CensusOptions {
  /** Whether to mend what is safe to mend; nothing is changed otherwise. */
  mend: boolean;
  /** Told of each finding as it is made. */
  found: (finding: Finding) => void;
}

export interface CensusTotals {
  queues: number;
  tasks: number;
  /** What could not be looked at, one line each: other calls changed it each time, or it is too much for one look. */
  unchecked: readonly string[];
}

/** Looks at all that a store holds, whether brokers work on it meanwhile or not. */
export interface Census {
  /** Where it looks, without secrets. */
  readonly location: string;
  /**
   * Looks at everything once, in bounded steps, and rests after each for as long as it took.
   * @throws StoreError when the store fails
   */
  take(options: CensusOptions): Promise<CensusTotals>;
  close(): Promise<void>;
}
