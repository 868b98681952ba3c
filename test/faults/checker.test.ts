import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BREACHES } from './checker/breaches.ts';
import type { InvariantName } from './checker/invariant.ts';
import { ScriptedHistory } from './checker/scripted-history.ts';
import { accountOf, judge } from './checker/verdict.ts';
import type { Logged } from './history/event.ts';

function broken(events: readonly Logged[]): InvariantName[] {
  return [...new Set(judge(events).violations.map(({ invariant }) => invariant))];
}

describe('the checker', () => {
  it('finds nothing wrong with a good history: repeats, heartbeats, late acks, unknown calls and a fault among it', () => {
    const history = new ScriptedHistory();
    history.live();
    history.post('b');
    history.settle(history.grant('b', 1), 'nack', { state: 'ready', runAt: history.now });
    history.settle(history.grant('b', 2), 'release', { state: 'ready' });
    const held = history.grant('b', 3, { attempt: 2 });
    history.pass(900);
    history.settle(held, 'heartbeat', { state: 'leased', deadline: history.now + 1000 });
    history.settle(held, 'ack');
    history.found('b', { attempt: 2, deliveries: 3, result: 'b/3' });
    history.fault('broker-kill', 'inject');
    history.post('c', {}, null);
    history.post('c');
    history.fault('broker-kill', 'heal');
    const lost = history.grant('c', 1);
    history.settle(lost, 'ack', null);
    history.settle(lost, 'ack', { replayed: true });
    history.found('c');
    history.post('d');
    const late = history.grant('d', 1);
    history.pass(1200);
    history.settle(late, 'ack', { late: true });
    history.found('d');
    history.post('e');
    history.settle(history.grant('e', 1), 'release', { status: 409, code: 'lease_lost' });
    history.settle(history.grant('e', 2, { attempt: 1 }), 'nack', { status: 409, code: 'lease_lost' });
    history.settle(history.grant('e', 3, { attempt: 2 }), 'ack');
    history.found('e', { attempt: 2, deliveries: 3, result: 'e/3' });
    assert.deepEqual(judge(history.finish()).violations, []);
  });

  it('holds nothing against a broker that it could not do because the machine stood still', () => {
    const history = new ScriptedHistory();
    history.fault('redis-kill', 'inject');
    history.fault('redis-kill', 'heal');
    history.stall(3000);
    history.pass(4000);
    history.live('x');
    history.post('y', { ttlMs: 100 });
    const expiresAt = history.now + 90;
    history.stall(3000);
    const times = { expiresAt, finishedAt: history.now };
    history.found('y', { state: 'expired', attempt: 0, deliveries: 0, result: null, ...times });
    assert.deepEqual(judge(history.finish()).violations, []);
  });

  it('finds nothing wrong with leases that are told of again, deaths, cancellations, ttls, groups and batches as they should be', () => {
    const history = new ScriptedHistory();
    history.post('again');
    const first = history.pollUnknown();
    const chained = history.grant('again', 1, {}, { again: first });
    history.grantAgain(chained, { again: first });
    history.settle(chained, 'ack');
    history.found('again');
    history.post('named');
    const named = history.grant('named', 1, {}, { requestId: 'r' });
    history.grantAgain(named, { requestId: 'r' });
    history.settle(named, 'ack');
    history.found('named');
    history.post('final');
    history.pass(1200);
    history.settle(history.grant('final', 1), 'release', { state: 'ready' });
    const latest = history.grant('final', 2, { attempt: 1 });
    history.settle(latest, 'nack', null, { retryable: false });
    history.settle(latest, 'nack', { state: 'dead', replayed: true }, { retryable: false });
    history.found('final', { state: 'dead', attempt: 1, deliveries: 2, result: null });
    history.post('forgotten');
    history.pass(3000);
    history.found('forgotten', { state: 'dead', attempt: 3, deliveries: 4, result: null });
    history.post('late', { maxAttempts: 1 });
    const late = history.grant('late', 1);
    history.pass(1200);
    history.settle(late, 'nack', { state: 'dead', late: true });
    history.found('late', { state: 'dead', result: null });
    history.post('waiting');
    history.cancel('waiting', 'cancelled');
    history.found('waiting', { state: 'cancelled', attempt: 0, deliveries: 0, result: null });
    history.post('forced');
    const forced = history.grant('forced', 1);
    history.cancel('forced', 'cancelled', true);
    history.settle(forced, 'ack', { status: 409, code: 'task_cancelled' });
    history.found('forced', { state: 'cancelled', result: null });
    history.post('asked');
    const asked = history.grant('asked', 1);
    history.cancel('asked', 'leased');
    history.settle(asked, 'release', { state: 'cancelled' });
    history.cancel('asked', 'cancelled');
    history.found('asked', { state: 'cancelled', attempt: 0, result: null });
    history.live('ended');
    history.cancel('ended', { status: 409, code: 'already_settled' });
    history.post('short', { ttlMs: 100 });
    history.pass(100);
    history.found('short', { state: 'expired', attempt: 0, deliveries: 0, result: null });
    for (const mark of ['g1', 'g2']) history.post(mark, { groupKey: 'g' });
    for (const mark of ['g1', 'g2']) {
      history.settle(history.grant(mark, 1), 'ack');
      history.found(mark);
    }
    history.postMany(['b1', 'b2']);
    for (const mark of ['b1', 'b2']) {
      history.settle(history.grant(mark, 1), 'ack');
      history.found(mark);
    }
    history.post('holder', { unique: 'u' });
    history.postInVain('vain', 'holder', { unique: 'u' });
    history.settle(history.grant('holder', 1), 'ack');
    history.found('holder');
    assert.deepEqual(judge(history.finish()).violations, []);
  });

  it('lets a broker refuse calls while a fault is on and for a while after, and a worker that stands still not answer', () => {
    const history = new ScriptedHistory();
    history.fault('redis-freeze', 'inject');
    const call = history.post('a', {}, null, 'store_unavailable', 503);
    history.pass(20_000);
    history.fault('redis-freeze', 'heal');
    history.pass(2000);
    history.post('a', {}, null, 'store_unavailable', 503, call);
    history.post('a', {}, 't-a', '', null, call);
    history.settle(history.grant('a', 1), 'ack');
    history.found('a');
    history.fault('worker-freeze', 'inject', { silences: true, onlyWorkers: true });
    history.post('b', {}, null, 'timeout');
    history.fault('worker-freeze', 'heal', { silences: true, onlyWorkers: true, whom: 'paper' });
    history.live('b');
    assert.deepEqual(judge(history.finish()).violations, []);
  });

  it('does not call late what waits for its group, for a limit, for a fault to heal, or for a worker', () => {
    const history = new ScriptedHistory();
    history.limit('plain', 1);
    for (const mark of ['g1', 'g2']) history.post(mark, { groupKey: 'g' });
    const held = history.grant('g1', 1);
    for (let beat = 0; beat < 15; beat++) {
      history.pass(900);
      history.pollInVain();
      history.settle(held, 'heartbeat', { state: 'leased', deadline: history.now + 1000 });
    }
    history.settle(held, 'ack');
    history.settle(history.grant('g2', 1), 'ack');
    for (const mark of ['g1', 'g2']) history.found(mark);
    history.post('x');
    history.fault('redis-freeze', 'inject');
    history.pass(60_000);
    history.fault('redis-freeze', 'heal');
    history.pollInVain();
    history.settle(history.grant('x', 1), 'ack');
    history.found('x');
    history.post('y');
    history.post('of-another-group', { groupKey: 'h' });
    history.pass(60_000);
    history.settle(history.grant('of-another-group', 1), 'ack');
    history.found('of-another-group');
    history.post('newer');
    history.settle(history.grant('y', 1), 'ack');
    history.found('y');
    history.settle(history.grant('newer', 1), 'ack');
    history.found('newer');
    assert.deepEqual(judge(history.finish()).violations, []);
  });

  for (const [invariant, cases] of Object.entries(BREACHES)) {
    for (const [what, happens] of Object.entries(cases)) {
      it(`names ${invariant} for ${what}`, () => {
        const history = new ScriptedHistory();
        happens(history);
        assert.ok(
          broken(history.finish()).some((name) => name === invariant),
          broken(history.events).join(),
        );
      });
    }
  }

  it('names conservation for what the doctor finds at rest', () => {
    const history = new ScriptedHistory();
    assert.deepEqual(broken(history.finish({ findings: ['counter plain ready: 1 is noted, 0 is there'] })), [
      'conservation',
    ]);
  });

  for (const kind of ['found', 'counts', 'examined', 'left'] as const) {
    it(`names conservation or no loss where nobody has looked at what was left: no event of the kind ${kind}`, () => {
      const history = new ScriptedHistory();
      history.live();
      assert.notDeepEqual(broken(history.finish().filter((event) => event.kind !== kind)), []);
    });
  }

  it('names conservation where nothing was looked at in the end, and all that is known of a post is that it was tried', () => {
    const history = new ScriptedHistory();
    history.post('x', {}, null);
    const kinds = new Set(['found', 'counts', 'examined', 'left']);
    assert.deepEqual(broken(history.finish().filter(({ kind }) => !kinds.has(kind))), ['conservation']);
  });

  it('lets a broker learn that it is not ready, say so, and be wrong where one write in many goes', () => {
    const history = new ScriptedHistory();
    history.live();
    for (let count = 0; count < 10; count++) history.refusedWhile(true);
    for (let count = 0; count < 30; count++) history.refusedWhile(false);
    for (let count = 0; count < 30; count++) {
      history.refusedWhile(true);
      if (count % 10 === 0) history.live(`w${count}`);
    }
    assert.ok(!broken(history.finish()).includes('readiness'));
  });

  it('names conservation for keys that are left when everything was deleted', () => {
    const history = new ScriptedHistory();
    history.live();
    assert.deepEqual(broken(history.finish({ left: ['lessor:{0}:x:plain'] })), ['conservation']);
  });

  it('names no loss where the drain did not end', () => {
    const history = new ScriptedHistory();
    history.live();
    const events = history.finish().filter(({ kind }) => kind !== 'drained');
    assert.deepEqual(broken(events), ['no loss']);
  });

  it('tells the whole story of the task that was wronged first', () => {
    const history = new ScriptedHistory();
    history.live();
    history.post('x');
    const first = history.grant('x', 1);
    history.fault('redis-kill', 'inject');
    history.settle(history.grant('x', 2), 'ack');
    history.fault('redis-kill', 'heal');
    history.settle(first, 'ack', { status: 409, code: 'lease_lost' });
    history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
    const account = accountOf(judge(history.finish())).join('\n');
    const told = [
      /justified repeats: task t-x grant 2/,
      /post x to plain/,
      /fence 1/,
      /FAULT redis-kill/,
      /fence 2/,
      /lease_lost/,
      /in the end it is completed/,
    ];
    for (const line of told) assert.match(account, line);
    assert.doesNotMatch(account, /t-a/);
  });
});
