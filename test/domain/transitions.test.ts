import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PROBLEMS } from '../../src/domain/problems.ts';
import { isTerminal, isWaiting, TASK_STATES, TERMINAL_STATES, WAITING_STATES } from '../../src/domain/task.ts';
import {
  LEASE_END_FACTS,
  LEASE_END_RULES,
  type LeaseEnd,
  type LeaseEndFact,
  leaseEndRule,
  MOVES,
  overdue,
  SETTLE_CASES,
  SETTLE_TABLE,
  SETTLE_VERBS,
  type SettleCase,
  settleCase,
} from '../../src/domain/transitions.ts';

describe('states', () => {
  it('are each leased, waiting or terminal', () => {
    for (const state of TASK_STATES) {
      assert.equal(Number(isTerminal(state)) + Number(isWaiting(state)) + Number(state === 'leased'), 1, state);
    }
    assert.equal(TERMINAL_STATES.length + WAITING_STATES.length + 1, TASK_STATES.length);
    assert.equal(new Set(TASK_STATES).size, TASK_STATES.length);
  });
});

describe('the settle table', () => {
  it('has a verdict for every case and verb, and no other', () => {
    assert.deepEqual(Object.keys(SETTLE_TABLE).sort(), [...SETTLE_CASES].sort());
    for (const name of SETTLE_CASES) {
      assert.deepEqual(Object.keys(SETTLE_TABLE[name]), [...SETTLE_VERBS], name);
      for (const verdict of Object.values(SETTLE_TABLE[name])) {
        assert.ok(verdict === 'accept' || verdict === 'late' || verdict === 'replay' || verdict in PROBLEMS, verdict);
      }
    }
  });

  it('refuses with 404 or 409 alone, which are final for a worker', () => {
    for (const verdicts of Object.values(SETTLE_TABLE)) {
      for (const verdict of Object.values(verdicts)) {
        if (verdict === 'accept' || verdict === 'late' || verdict === 'replay') continue;
        assert.ok([404, 409].includes(PROBLEMS[verdict].status), verdict);
        assert.equal(PROBLEMS[verdict].retryable, false);
      }
    }
  });

  it('meets its cases in the order in which they are listed', () => {
    const T = 'token';
    const meets = (expected: SettleCase, verb: 'ack' | 'heartbeat', task: Parameters<typeof settleCase>[0]): void => {
      assert.equal(settleCase(task, T, verb), expected, JSON.stringify([task, verb]));
    };
    meets('unknown', 'ack', null);
    for (const state of TASK_STATES) {
      for (const settledBy of [null, 'ack', 'nack', 'release'] as const) {
        meets('superseded', 'ack', { state, settledBy, token: null });
        meets('superseded', 'ack', { state, settledBy, token: 'another' });
      }
      meets('repeated', 'ack', { state, settledBy: 'ack', token: T });
      meets(state === 'cancelled' ? 'cancelled' : 'settled', 'ack', { state, settledBy: 'nack', token: T });
      meets(state === 'cancelled' ? 'cancelled' : 'settled', 'heartbeat', { state, settledBy: 'ack', token: T });
    }
    meets('cancelled', 'ack', { state: 'cancelled', settledBy: null, token: T });
    for (const state of ['dead', 'expired', 'completed'] as const) {
      meets('lapsed', 'ack', { state, settledBy: null, token: T });
    }
    for (const state of WAITING_STATES) meets('late', 'ack', { state, settledBy: null, token: T });
    meets('held', 'ack', { state: 'leased', settledBy: null, token: T });
  });
});

describe('the ends of a lease', () => {
  const ends: readonly LeaseEnd[] = ['ack', 'nack', 'release', 'expiry'];

  it('each have rules, of which the last one always holds and none comes twice', () => {
    assert.deepEqual(Object.keys(LEASE_END_RULES).sort(), [...ends].sort());
    for (const end of ends) {
      const facts = LEASE_END_RULES[end].map(({ when }) => when);
      assert.equal(facts.at(-1), 'always', end);
      assert.equal(new Set(facts).size, facts.length, end);
      for (const fact of facts) assert.ok(LEASE_END_FACTS.includes(fact));
    }
  });

  it('say where in the line a task stands exactly when it is ready', () => {
    for (const end of ends) {
      for (const { state, place } of LEASE_END_RULES[end]) assert.equal(place !== undefined, state === 'ready', end);
    }
  });

  it('are decided by the first fact that holds', () => {
    const none = { cancelRequested: false, ttlPassed: false, exhausted: false, delayed: false };
    const all = { cancelRequested: true, ttlPassed: true, exhausted: true, delayed: true };
    const stateFor = (end: LeaseEnd, facts: Record<Exclude<LeaseEndFact, 'always'>, boolean>): string =>
      leaseEndRule(end, facts).state;
    for (const facts of [none, all]) assert.equal(stateFor('ack', facts), 'completed');
    for (const end of ['nack', 'release', 'expiry'] as const) {
      assert.equal(stateFor(end, none), 'ready');
      assert.equal(stateFor(end, all), 'cancelled');
      assert.equal(stateFor(end, { ...all, cancelRequested: false }), 'expired');
    }
    const spent = { ...all, cancelRequested: false, ttlPassed: false };
    assert.deepEqual([stateFor('nack', spent), stateFor('expiry', spent)], ['dead', 'dead']);
    assert.equal(stateFor('release', spent), 'scheduled');
    assert.deepEqual(leaseEndRule('release', { ...none, exhausted: true }), {
      when: 'always',
      state: 'ready',
      place: 'old',
    });
    assert.equal(leaseEndRule('nack', none).place, 'back');
    assert.equal(leaseEndRule('expiry', none).place, 'front');
  });
});

describe('the moves without a token', () => {
  it('say for every state where they lead, or why not', () => {
    for (const [verb, moves] of Object.entries(MOVES)) {
      assert.deepEqual(Object.keys(moves).sort(), [...TASK_STATES].sort(), verb);
      for (const [state, move] of Object.entries(moves)) {
        if ('to' in move) assert.notEqual(move.to, state, `${verb} of ${state}`);
        if ('refused' in move) assert.equal(PROBLEMS[move.refused].status, 409, `${verb} of ${state}`);
      }
    }
  });

  it('lead to one state each: cancelled for a cancel, ready for a redrive', () => {
    const targets = (verb: keyof typeof MOVES): Set<string> =>
      new Set(Object.values(MOVES[verb]).flatMap((move) => ('to' in move ? [move.to] : [])));
    assert.deepEqual(targets('cancel'), new Set(['cancelled']));
    assert.deepEqual(targets('forceCancel'), new Set(['cancelled']));
    assert.deepEqual(targets('redrive'), new Set(['ready']));
    assert.deepEqual(targets('remove'), new Set());
  });

  it('differ between a cancel and one by force for leased tasks alone', () => {
    for (const state of TASK_STATES) {
      if (state === 'leased') assert.notDeepEqual(MOVES.cancel[state], MOVES.forceCancel[state]);
      else assert.deepEqual(MOVES.cancel[state], MOVES.forceCancel[state], state);
    }
  });

  it('redrive only what has ended, and remove all of that', () => {
    for (const state of TASK_STATES) {
      assert.equal('to' in MOVES.redrive[state], isTerminal(state) && state !== 'completed', state);
      assert.equal('refused' in MOVES.remove[state], !isTerminal(state), state);
    }
  });
});

describe('what time alone does', () => {
  it('ends a lease at its deadline, and a wait at the ttl', () => {
    const at = (
      state: (typeof TASK_STATES)[number],
      leaseExpiresAt: number | null,
      expiresAt: number | null,
    ): unknown => overdue({ state, leaseExpiresAt, expiresAt }, 1000);
    assert.equal(at('leased', 1000, null), 'lease');
    assert.equal(at('leased', 1001, 5), null);
    assert.equal(at('leased', null, 5), null);
    for (const state of WAITING_STATES) {
      assert.equal(at(state, null, 1000), 'ttl');
      assert.equal(at(state, 5, 1001), null);
      assert.equal(at(state, 5, null), null);
    }
    for (const state of TERMINAL_STATES) assert.equal(at(state, 5, 5), null);
  });
});
