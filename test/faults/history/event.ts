/**
 * What a history is made of: one event a line, in the words of the wire. Times are ms since the epoch. A `call` is written before
 * its request is sent, with the base URL that it goes to; one of `ok`, `failed` and `unknown` when it is known what became of it.
 */

/** One task as it was posted. `mark` is in its payload and is its idempotency key. */
export interface Posted {
  mark: string;
  /** Of the payload. */
  hash: string;
  queue: string;
  delayMs: number;
  ttlMs: number | null;
  maxAttempts: number;
  groupKey: string | null;
  unique: string | null;
}

/** One verb of a worker. */
export interface Verb {
  verb: 'ack' | 'nack' | 'release' | 'heartbeat';
  task: string;
  token: string;
  /** Of a nack. */
  retryable?: boolean;
  /** Of a nack or a release. */
  delayMs?: number;
  /** Of a heartbeat. */
  leaseMs?: number;
  /** What an ack says of the work; the task must show it in the end. */
  result?: string;
}

export type Request =
  | { op: 'enqueue'; tasks: readonly Posted[] }
  | { op: 'lease'; queues: readonly string[]; max: number; leaseMs: number; waitMs: number; requestId: string | null }
  | { op: 'settle'; items: readonly Verb[]; next: { max: number; leaseMs: number } | null }
  | { op: 'cancel'; task: string; force: boolean };

/** A lease as its reply showed it. */
export interface Granted {
  task: string;
  mark: string;
  hash: string;
  queue: string;
  groupKey: string | null;
  attempt: number;
  maxAttempts: number;
  fence: number;
  token: string;
  deadline: number;
  leaseMs: number;
  createdAt: number;
  runAt: number;
  expiresAt: number | null;
}

/** What became of one verb: its status, and what a good one said, or the code of the problem. */
export interface Settled {
  status: number;
  code: string | null;
  state: string | null;
  attempt: number | null;
  late: boolean;
  replayed: boolean;
  /** Of a heartbeat. */
  deadline: number | null;
  /** Of a nack. */
  runAt: number | null;
}

export interface Stored {
  mark: string;
  task: string;
  /** Another task held the unique key, and this is that one. */
  deduplicated: boolean;
}

export type Reply =
  | { op: 'enqueue'; tasks: readonly Stored[] }
  | { op: 'lease'; grants: readonly Granted[] }
  | { op: 'settle'; results: readonly Settled[]; next: readonly Granted[] }
  | { op: 'cancel'; state: string };

/** A task as it was found after the drain. */
export interface Found {
  task: string;
  mark: string;
  hash: string;
  queue: string;
  state: string;
  attempt: number;
  maxAttempts: number;
  deliveries: number;
  createdAt: number;
  expiresAt: number | null;
  finishedAt: number | null;
  result: string | null;
}

/** What a queue says of itself at rest. */
export interface QueueCounts {
  /** Tasks by state. */
  states: Readonly<Record<string, number>>;
  /** Since the queue was made. */
  totals: Readonly<Record<string, number>>;
}

/** What clients may expect while a fault is on. */
export interface Promises {
  /** Calls may go without any answer, not even a 503. */
  silences: boolean;
  /** Not one call may be left unknown. */
  flawless: boolean;
  /** Brokers and their store are not touched: what they do is done in time. */
  onlyWorkers?: true;
}

/** What is known of a fault once it has healed. */
interface Healed {
  /** Whom it befell where that is one: the name of a worker's process, or the base URL of a broker. */
  whom?: string;
  /** When the store could do everything again, where that was before all was as it had been. */
  mendedAt?: number;
}

/** A time in which the machine stood still, by the clock of the history. */
export interface Stall {
  from: number;
  to: number;
}

export type Event =
  | { kind: 'begin'; home: string; seed: number; command: string }
  | ({ kind: 'call'; call: string; again: string | null; deadlineMs: number; via: string } & Request)
  | ({ kind: 'ok'; call: string } & Reply)
  | { kind: 'failed'; call: string; status: number; code: string }
  | { kind: 'unknown'; call: string; status: number | null; why: string }
  /** A limit of leases at once; null for none. */
  | { kind: 'queue'; queue: string; maxConcurrency: number | null }
  | ({ kind: 'fault'; fault: string; dose: number; phase: 'inject' | 'heal'; what: string } & Healed & Promises)
  /** The machine ran nothing for so long. */
  | ({ kind: 'stall' } & Stall)
  | { kind: 'readiness'; via: string; askedAt: number; ready: boolean }
  | { kind: 'drained' }
  | { kind: 'found'; found: Found }
  | { kind: 'counts'; queue: string; counts: QueueCounts }
  | { kind: 'examined'; findings: readonly string[] }
  | { kind: 'left'; what: string; names: readonly string[] };

/** An event with who wrote it and when, by that process's clock, which never goes back in one process. */
export type Logged = Event & { p: string; at: number };
