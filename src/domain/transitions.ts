import type { ProblemCode } from './problems.ts';
import { isTerminal, isWaiting, type TaskState } from './task.ts';

/**
 * The state machine, as data. Every store enforces these tables (the Lua scripts get them injected), and the
 * contract suite, the model test and the state diagram are checked against them.
 */

export const SETTLE_VERBS = ['ack', 'nack', 'release', 'heartbeat'] as const;
export type SettleVerb = (typeof SETTLE_VERBS)[number];

/** Verbs that end a lease; a heartbeat does not. */
export type EndingVerb = Exclude<SettleVerb, 'heartbeat'>;

/**
 * What a worker with token T meets, C being the token of the latest grant. The first that holds counts.
 * - `unknown`: no such task
 * - `superseded`: T ≠ C
 * - `repeated`: this verb has settled C already
 * - `cancelled`: the task is cancelled
 * - `settled`: another verb has settled C
 * - `lapsed`: dead or past its ttl, only because the lease ran out
 * - `late`: the lease ran out, and nobody was granted the task since
 * - `held`: the lease is running
 */
export const SETTLE_CASES = [
  'unknown',
  'superseded',
  'repeated',
  'cancelled',
  'settled',
  'lapsed',
  'late',
  'held',
] as const;
export type SettleCase = (typeof SETTLE_CASES)[number];

/** `accept`, `late` (accepted, and told so), `replay` (the first outcome again), or the refusal. */
export type Verdict = 'accept' | 'late' | 'replay' | ProblemCode;

const all = (verdict: Verdict): Record<SettleVerb, Verdict> => ({
  ack: verdict,
  nack: verdict,
  release: verdict,
  heartbeat: verdict,
});

export const SETTLE_TABLE: Record<SettleCase, Record<SettleVerb, Verdict>> = {
  unknown: all('task_not_found'),
  superseded: all('lease_lost'),
  // A heartbeat settles nothing, so it is never repeated in this sense.
  repeated: { ...all('replay'), heartbeat: 'already_settled' },
  cancelled: all('task_cancelled'),
  settled: all('already_settled'),
  lapsed: { ack: 'late', nack: 'late', release: 'already_settled', heartbeat: 'lease_lost' },
  late: { ack: 'late', nack: 'late', release: 'lease_lost', heartbeat: 'late' },
  held: all('accept'),
};

/** What a settle is judged by. */
export interface Settleable {
  state: TaskState;
  /** The token of the latest grant; null before the first one and after a redrive. */
  token: string | null;
  /** The verb that settled the latest grant, if one did. */
  settledBy: EndingVerb | null;
}

/**
 * The case a verb with token `token` meets. The task must have been brought up to date first
 * ({@link overdue}), so that the answer does not depend on whether the reaper has been there yet.
 */
export function settleCase(task: Settleable | null, token: string, verb: SettleVerb): SettleCase {
  if (task === null) return 'unknown';
  if (task.token !== token) return 'superseded';
  if (task.settledBy === verb) return 'repeated';
  if (task.state === 'cancelled') return 'cancelled';
  if (task.settledBy !== null) return 'settled';
  if (isTerminal(task.state)) return 'lapsed';
  if (task.state !== 'leased') return 'late';
  return 'held';
}

/** Where a task that waits again stands: its old place, the back, or the very front of its line. */
export type Place = 'old' | 'back' | 'front';

/** Facts that decide where a task goes when a lease ends. */
export const LEASE_END_FACTS = ['cancelRequested', 'ttlPassed', 'exhausted', 'delayed', 'always'] as const;
export type LeaseEndFact = (typeof LEASE_END_FACTS)[number];

/** The ways a lease ends. */
export type LeaseEnd = EndingVerb | 'expiry';

export interface LeaseEndRule {
  when: LeaseEndFact;
  state: TaskState;
  place?: Place;
}

/**
 * Where a leased task goes, by how its lease ends: the first rule whose fact holds.
 * `exhausted`: no attempt is left, or the worker said that another one is of no use.
 * `delayed`: a wait (backoff, or the worker's own delay) above zero.
 */
export const LEASE_END_RULES: Record<LeaseEnd, readonly LeaseEndRule[]> = {
  ack: [{ when: 'always', state: 'completed' }],
  nack: [
    { when: 'cancelRequested', state: 'cancelled' },
    { when: 'ttlPassed', state: 'expired' },
    { when: 'exhausted', state: 'dead' },
    { when: 'delayed', state: 'scheduled' },
    { when: 'always', state: 'ready', place: 'back' },
  ],
  release: [
    { when: 'cancelRequested', state: 'cancelled' },
    { when: 'ttlPassed', state: 'expired' },
    { when: 'delayed', state: 'scheduled' },
    { when: 'always', state: 'ready', place: 'old' },
  ],
  expiry: [
    { when: 'cancelRequested', state: 'cancelled' },
    { when: 'ttlPassed', state: 'expired' },
    { when: 'exhausted', state: 'dead' },
    { when: 'always', state: 'ready', place: 'front' },
  ],
};

/** The rule that applies when a lease ends. */
export function leaseEndRule(end: LeaseEnd, facts: Record<Exclude<LeaseEndFact, 'always'>, boolean>): LeaseEndRule {
  const rule = LEASE_END_RULES[end].find(({ when }) => when === 'always' || facts[when]);
  if (!rule) throw new Error(`no rule for the end of a lease by ${end}`);
  return rule;
}

/**
 * What time alone has made of a task. A settle and a cancel apply this first.
 * - `lease`: its lease ran out: {@link LEASE_END_RULES}.expiry applies
 * - `ttl`: it waited past its ttl: it is `expired`
 */
export function overdue(
  task: { state: TaskState; leaseExpiresAt: number | null; expiresAt: number | null },
  now: number,
): 'lease' | 'ttl' | null {
  if (task.state === 'leased') return task.leaseExpiresAt !== null && task.leaseExpiresAt <= now ? 'lease' : null;
  return isWaiting(task.state) && task.expiresAt !== null && task.expiresAt <= now ? 'ttl' : null;
}

/** The state that time alone has brought a task to, whether the sweep has been there or not. */
export function stateByNow(
  task: {
    state: TaskState;
    leaseExpiresAt: number | null;
    expiresAt: number | null;
    cancelRequested: boolean;
    exhausted: boolean;
  },
  now: number,
): TaskState {
  const due = overdue(task, now);
  if (due === null) return task.state;
  if (due === 'ttl') return 'expired';
  const { cancelRequested, exhausted, expiresAt } = task;
  const ttlPassed = expiresAt !== null && expiresAt <= now;
  return leaseEndRule('expiry', { cancelRequested, ttlPassed, exhausted, delayed: false }).state;
}

/** What an operation that needs no token does to a task in each state: the next state, or the refusal. */
export type Move = { to: TaskState } | { stays: 'requested' | 'unchanged' } | { refused: ProblemCode };

const to = (state: TaskState): Move => ({ to: state });
const refused = (code: ProblemCode): Move => ({ refused: code });

export type TokenlessVerb = 'cancel' | 'forceCancel' | 'redrive' | 'remove';

/** `remove` moves nothing: a terminal task is deleted, which is written as staying `unchanged`. */
export const MOVES: Record<TokenlessVerb, Record<TaskState, Move>> = {
  cancel: {
    scheduled: to('cancelled'),
    ready: to('cancelled'),
    blocked: to('cancelled'),
    leased: { stays: 'requested' },
    completed: refused('already_settled'),
    dead: refused('already_settled'),
    cancelled: { stays: 'unchanged' },
    expired: refused('already_settled'),
  },
  forceCancel: {
    scheduled: to('cancelled'),
    ready: to('cancelled'),
    blocked: to('cancelled'),
    leased: to('cancelled'),
    completed: refused('already_settled'),
    dead: refused('already_settled'),
    cancelled: { stays: 'unchanged' },
    expired: refused('already_settled'),
  },
  redrive: {
    scheduled: refused('not_redrivable'),
    ready: refused('not_redrivable'),
    blocked: refused('not_redrivable'),
    leased: refused('not_redrivable'),
    completed: refused('not_redrivable'),
    dead: to('ready'),
    cancelled: to('ready'),
    expired: to('ready'),
  },
  remove: {
    scheduled: refused('task_active'),
    ready: refused('task_active'),
    blocked: refused('task_active'),
    leased: refused('task_active'),
    completed: { stays: 'unchanged' },
    dead: { stays: 'unchanged' },
    cancelled: { stays: 'unchanged' },
    expired: { stays: 'unchanged' },
  },
};

/** What is recorded as `lastError` when a lease runs out. */
export const LEASE_EXPIRED_ERROR = {
  code: 'lease_expired',
  message: 'The lease ran out before the worker settled it.',
} as const;

/** What is recorded as `lastError.code` when a cancellation gives a reason. */
export const CANCELLED_ERROR_CODE = 'cancelled';
