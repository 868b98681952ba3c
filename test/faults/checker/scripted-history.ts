import type { Event, Found, Granted, Logged, Posted, Request, Settled, Verb } from '../history/event.ts';

const LEASE_MS = 1000;
const STEP_MS = 10;
const QUEUE = 'plain';
const BROKER = 'http://broker';
const GOOD: Settled = {
  ...{ status: 200, code: null, state: 'completed', attempt: 1, late: false, replayed: false },
  ...{ deadline: null, runAt: null },
};

/** Writes down a history that never happened, step by step, as the load and the brokers would have had it. Time passes with each step. */
export class ScriptedHistory {
  readonly events: Logged[] = [];
  readonly #found: Found[] = [];
  /** What the queue is said to count, where that is not what its tasks add up to. */
  readonly miscounted: Record<string, number> = {};
  #at = 1_000_000;
  readonly #posted = new Map<string, number>();
  #calls = 0;

  constructor() {
    this.#say({ kind: 'begin', home: 'paper', seed: 1, command: 'none' });
  }

  get now(): number {
    return this.#at;
  }

  pass(ms: number): void {
    this.#at += ms;
  }

  /**
   * Posts a task, which becomes `t-<mark>`.
   * @param id null: the outcome stays unknown, for the reason `why`
   */
  post(
    mark: string,
    more: Partial<Posted> = {},
    id: string | null = `t-${mark}`,
    why = 'reset',
    status: number | null = null,
  ): void {
    const posted = {
      mark,
      hash: 'h',
      queue: QUEUE,
      delayMs: 0,
      ttlMs: null,
      maxAttempts: 3,
      groupKey: null,
      unique: null,
    };
    const call = this.#call({ op: 'enqueue', tasks: [{ ...posted, ...more }] });
    this.#posted.set(mark, this.#at);
    if (id === null) this.#say({ kind: 'unknown', call, status, why });
    else this.#say({ kind: 'ok', call, op: 'enqueue', tasks: [{ mark, task: id, deduplicated: false }] });
  }

  /** Grants a task at this moment. */
  grant(mark: string, fence: number, more: Partial<Granted> = {}): Granted {
    const call = this.#call({ op: 'lease', queues: [QUEUE], max: 1, leaseMs: LEASE_MS, waitMs: 0, requestId: null });
    const granted: Granted = {
      ...{ task: `t-${mark}`, mark, hash: 'h', queue: QUEUE, groupKey: null, attempt: fence, maxAttempts: 3, fence },
      ...{ token: `${mark}/${fence}`, deadline: this.#at + LEASE_MS, leaseMs: LEASE_MS, createdAt: this.#at - STEP_MS },
      ...{ runAt: this.#at, expiresAt: null, ...more },
    };
    this.#say({ kind: 'ok', call, op: 'lease', grants: [granted] });
    return granted;
  }

  /** A verb with the token of a grant. @param result null: its outcome stays unknown */
  settle(
    { task, token }: Granted,
    verb: Verb['verb'],
    result: Partial<Settled> | null = {},
    more: Partial<Verb> = {},
  ): void {
    const said = verb === 'ack' ? { result: token } : {};
    const call = this.#call({ op: 'settle', items: [{ verb, task, token, ...said, ...more }], next: null });
    if (result === null) this.#say({ kind: 'unknown', call, status: null, why: 'reset' });
    else this.#say({ kind: 'ok', call, op: 'settle', results: [{ ...GOOD, ...result }], next: [] });
  }

  fault(fault: string, phase: 'inject' | 'heal'): void {
    this.#say({ kind: 'fault', fault, dose: 1, phase, what: fault, silences: false, flawless: false });
  }

  /** How the census finds a task. */
  found(mark: string, more: Partial<Found> = {}): void {
    this.#found.push({
      ...{
        task: `t-${mark}`,
        mark,
        hash: 'h',
        queue: QUEUE,
        state: 'completed',
        attempt: 1,
        maxAttempts: 3,
        deliveries: 1,
      },
      ...{
        createdAt: this.#posted.get(mark) ?? this.#at,
        expiresAt: null,
        finishedAt: this.#at,
        result: `${mark}/1`,
        ...more,
      },
    });
  }

  /** The drain, the census and the counts. */
  finish({
    left = [],
    findings = [],
  }: {
    left?: readonly string[];
    findings?: readonly string[];
  } = {}): readonly Logged[] {
    this.#say({ kind: 'drained' });
    for (const found of this.#found) this.#say({ kind: 'found', found });
    const count = (state: string): number => this.#found.filter((found) => found.state === state).length;
    const states = Object.fromEntries(
      ['ready', 'leased', 'completed', 'dead', 'expired'].map((state) => [state, count(state)]),
    );
    const leased = this.#found.reduce((sum, { deliveries }) => sum + deliveries, 0);
    const totals = { enqueued: this.#found.length, leased, acked: count('completed'), dead: count('dead') };
    this.#say({ kind: 'counts', queue: QUEUE, counts: { states: { ...states, ...this.miscounted }, totals } });
    this.#say({ kind: 'examined', findings });
    this.#say({ kind: 'left', what: 'keys', names: left });
    return this.events;
  }

  /** What the broker answers when it is asked whether it is ready. */
  readiness(ready: boolean): void {
    this.#say({ kind: 'readiness', via: BROKER, askedAt: this.#at, ready });
  }

  #call(request: Request): string {
    const call = `c${++this.#calls}`;
    const asked = { kind: 'call', call, again: null, deadlineMs: 5000, via: BROKER, ...request } as const;
    this.events.push({ ...asked, p: 'paper', at: this.#at });
    return call;
  }

  #say(event: Event): void {
    this.#at += STEP_MS;
    this.events.push({ ...event, p: 'paper', at: this.#at });
  }
}
