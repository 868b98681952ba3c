import type { Event, Found, Granted, Logged, Posted, Promises, Request, Settled, Verb } from '../history/event.ts';

const LEASE_MS = 1000;
const STEP_MS = 10;
const QUEUE = 'plain';
const BROKER = 'http://broker';
const GOOD: Settled = {
  ...{ status: 200, code: null, state: 'completed', attempt: 1, late: false, replayed: false },
  ...{ deadline: null, runAt: null },
};

/** How a lease was asked for: by itself, under a request id, or as another call that is made again. */
interface Asked {
  requestId?: string | null;
  again?: string | null;
}

/** Writes down a history that never happened, step by step, as the load and the brokers would have had it. Time passes with each step. */
export class ScriptedHistory {
  readonly events: Logged[] = [];
  readonly #found: Found[] = [];
  /** What the queue is said to count, where that is not what its tasks add up to. */
  readonly miscounted: Record<string, number> = {};
  #at = 1_000_000;
  readonly #posted = new Map<string, { at: number } & Posted>();
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
   * @param again the call that it repeats
   * @returns the name of the call
   */
  post(
    mark: string,
    more: Partial<Posted> = {},
    id: string | null = `t-${mark}`,
    why = 'reset',
    status: number | null = null,
    again: string | null = null,
  ): string {
    const call = this.#call({ op: 'enqueue', tasks: [this.#posts(mark, more)] }, again);
    if (id === null) this.#say({ kind: 'unknown', call, status, why });
    else this.#say({ kind: 'ok', call, op: 'enqueue', tasks: [{ mark, task: id, deduplicated: false }] });
    return call;
  }

  /** Posts several tasks at once. @param told those of which the answer tells */
  postMany(marks: readonly string[], told: readonly string[] = marks): void {
    const call = this.#call({ op: 'enqueue', tasks: marks.map((mark) => this.#posts(mark)) });
    const tasks = told.map((mark) => ({ mark, task: `t-${mark}`, deduplicated: false }));
    this.#say({ kind: 'ok', call, op: 'enqueue', tasks });
  }

  /** Posts a task that is answered with the one that holds its unique key. */
  postInVain(mark: string, holder: string, more: Partial<Posted> = {}): void {
    const call = this.#call({ op: 'enqueue', tasks: [this.#posts(mark, more)] });
    this.#say({ kind: 'ok', call, op: 'enqueue', tasks: [{ mark, task: `t-${holder}`, deduplicated: true }] });
  }

  /** Posts a task and is refused. */
  postRefused(mark: string, status: number, code: string): void {
    const call = this.#call({ op: 'enqueue', tasks: [this.#posts(mark)] });
    this.#say({ kind: 'failed', call, status, code });
  }

  /** Asks for a task and is refused, or waits for one in vain. */
  pollInVain(refusal: { status: number; code: string } | null = null): void {
    const call = this.#lease();
    if (refusal === null) this.#say({ kind: 'ok', call, op: 'lease', grants: [] });
    else this.#say({ kind: 'failed', call, ...refusal });
  }

  /** One task that lives as it should. */
  live(mark = 'a'): void {
    this.post(mark);
    this.settle(this.grant(mark, 1), 'ack');
    this.found(mark);
  }

  /** A write that is refused, while the broker says whether it is ready. */
  refusedWhile(ready: boolean): void {
    this.post('r', {}, null, 'store_unavailable', 503);
    this.pass(100);
    this.readiness(ready);
  }

  /** Says how many leases of a queue may run at once. */
  limit(queue: string, maxConcurrency: number): void {
    this.#say({ kind: 'queue', queue, maxConcurrency });
  }

  /** Asks that a task is cancelled. @param answer the state of it, or why not */
  cancel(mark: string, answer: string | { status: number; code: string }, force = false): void {
    const call = this.#call({ op: 'cancel', task: `t-${mark}`, force });
    if (typeof answer === 'string') this.#say({ kind: 'ok', call, op: 'cancel', state: answer });
    else this.#say({ kind: 'failed', call, ...answer });
  }

  /** Grants a task at this moment. */
  grant(mark: string, fence: number, more: Partial<Granted> = {}, asked: Asked = {}): Granted {
    const call = this.#lease(asked);
    const { at = this.#at - STEP_MS, groupKey = null, maxAttempts = 3, ttlMs = null } = this.#posted.get(mark) ?? {};
    const granted: Granted = {
      ...{ task: `t-${mark}`, mark, hash: 'h', queue: QUEUE, groupKey, attempt: fence, maxAttempts, fence },
      ...{ token: `${mark}/${fence}`, deadline: this.#at + LEASE_MS, leaseMs: LEASE_MS, createdAt: at },
      ...{ runAt: this.#at, expiresAt: ttlMs === null ? null : at + ttlMs, ...more },
    };
    this.#say({ kind: 'ok', call, op: 'lease', grants: [granted] });
    return granted;
  }

  /** Another call is answered with a grant that was told of before. */
  grantAgain(granted: Granted, asked: Asked = {}): void {
    this.#say({ kind: 'ok', call: this.#lease(asked), op: 'lease', grants: [granted] });
  }

  /** A call for a task of which nothing is known. @returns its name */
  pollUnknown(asked: Asked = {}): string {
    const call = this.#lease(asked);
    this.#say({ kind: 'unknown', call, status: null, why: 'reset' });
    return call;
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

  fault(
    fault: string,
    phase: 'inject' | 'heal',
    more: Partial<Promises> & { whom?: string; mendedAt?: number } = {},
  ): void {
    this.#say({ kind: 'fault', fault, dose: 1, phase, what: fault, silences: false, flawless: false, ...more });
  }

  /** The machine stands still. */
  stall(ms: number): void {
    const from = this.#at;
    this.#at += ms;
    this.#say({ kind: 'stall', from, to: this.#at });
  }

  /** How the census finds a task. */
  found(mark: string, more: Partial<Found> = {}): void {
    const { at = this.#at, maxAttempts = 3, ttlMs = null } = this.#posted.get(mark) ?? {};
    this.#found.push({
      ...{ task: `t-${mark}`, mark, hash: 'h', queue: QUEUE, state: 'completed', attempt: 1, maxAttempts },
      ...{ deliveries: 1, createdAt: at, expiresAt: ttlMs === null ? null : at + ttlMs, finishedAt: this.#at },
      ...{ result: `${mark}/1`, ...more },
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

  #posts(mark: string, more: Partial<Posted> = {}): Posted {
    const plain = { hash: 'h', queue: QUEUE, delayMs: 0, ttlMs: null, maxAttempts: 3, groupKey: null, unique: null };
    const posted = { mark, ...plain, ...more };
    if (!this.#posted.has(mark)) this.#posted.set(mark, { at: this.#at, ...posted });
    return posted;
  }

  #lease({ requestId = null, again = null }: Asked = {}): string {
    const asked = { queues: [QUEUE], max: 1, leaseMs: LEASE_MS, waitMs: 0, requestId };
    return this.#call({ op: 'lease', ...asked }, again);
  }

  #call(request: Request, again: string | null = null): string {
    const call = `c${++this.#calls}`;
    const asked = { kind: 'call', call, again, deadlineMs: 5000, via: BROKER, ...request } as const;
    this.events.push({ ...asked, p: 'paper', at: this.#at });
    return call;
  }

  #say(event: Event): void {
    this.#at += STEP_MS;
    this.events.push({ ...event, p: 'paper', at: this.#at });
  }
}
