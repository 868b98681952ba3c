import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InvariantName } from './checker/invariant.ts';
import { ScriptedHistory } from './checker/scripted-history.ts';
import { accountOf, judge } from './checker/verdict.ts';
import type { Logged } from './history/event.ts';

function broken(events: readonly Logged[]): InvariantName[] {
  return [...new Set(judge(events).violations.map(({ invariant }) => invariant))];
}

/** One task that lived as it should. */
function plainLife(history: ScriptedHistory, mark = 'a'): void {
  history.post(mark);
  history.settle(history.grant(mark, 1), 'ack');
  history.found(mark);
}

/** A write that is refused, while the broker says whether it is ready. */
function refused(history: ScriptedHistory, ready: boolean): void {
  history.post('r', {}, null, 'store_unavailable', 503);
  history.pass(100);
  history.readiness(ready);
}

describe('the checker', () => {
  it('finds nothing wrong with a good history: repeats, heartbeats, late acks, unknown calls and a fault among it', () => {
    const history = new ScriptedHistory();
    plainLife(history);
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

  const breaches: Record<InvariantName, Record<string, (history: ScriptedHistory) => void>> = {
    'no loss': {
      'a task with a 2xx that is nowhere': (history) => history.post('x'),
      'an ack that was taken back': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x', { state: 'dead', attempt: 3, result: null });
      },
      'a task that is completed though nobody acknowledged it': (history) => {
        history.post('x');
        history.grant('x', 1);
        history.found('x', { result: null });
      },
    },
    'no phantom': {
      'a lease of what nobody posted': (history) => {
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a payload that has changed': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1, { hash: 'other' }), 'ack');
        history.found('x');
      },
    },
    'justified repeats': {
      'a second grant while the first lease runs': (history) => {
        history.post('x');
        history.grant('x', 1);
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
      'a second grant after the first deadline, which a heartbeat had moved': (history) => {
        history.post('x');
        const first = history.grant('x', 1);
        history.pass(900);
        history.settle(first, 'heartbeat', { state: 'leased', deadline: history.now + 1000 });
        history.pass(200);
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
    },
    exclusion: {
      'a heartbeat of the first lease that is accepted after the second grant': (history) => {
        history.post('x');
        const first = history.grant('x', 1);
        history.pass(1100);
        const second = history.grant('x', 2);
        history.settle(first, 'heartbeat', { state: 'leased', deadline: first.deadline });
        history.settle(second, 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
      'two tasks of one group at the same time': (history) => {
        for (const mark of ['x', 'y']) history.post(mark, { groupKey: 'g' });
        const grants = ['x', 'y'].map((mark) => history.grant(mark, 1, { groupKey: 'g' }));
        for (const grant of grants) {
          history.settle(grant, 'ack');
          history.found(grant.mark);
        }
      },
    },
    fencing: {
      'an ack with a token that is not the latest': (history) => {
        history.post('x');
        const first = history.grant('x', 1);
        history.pass(1100);
        history.grant('x', 2);
        history.settle(first, 'ack');
        history.found('x', { attempt: 2, deliveries: 2 });
      },
      'a grant after the ack': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x', { deliveries: 2, attempt: 2 });
        history.pass(1100);
        history.grant('x', 2);
      },
      'a result of an ack that was refused': (history) => {
        history.post('x');
        const first = history.grant('x', 1);
        history.pass(1100);
        const second = history.grant('x', 2);
        history.settle(first, 'ack', { status: 409, code: 'lease_lost' });
        history.settle(second, 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/1' });
      },
      'a nack that is refused while its lease runs and nobody else was granted the task': (history) => {
        history.post('x');
        const held = history.grant('x', 1);
        history.settle(held, 'nack', { status: 409, code: 'lease_lost' });
        history.settle(held, 'ack');
        history.found('x');
      },
      'a holder that is refused while its lease runs': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'ack', { status: 409, code: 'lease_lost' });
        history.pass(1100);
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
    },
    attempts: {
      'a nack that does not count': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'nack', { state: 'ready', runAt: history.now });
        history.settle(history.grant('x', 2, { attempt: 1 }), 'ack');
        history.found('x', { deliveries: 2, result: 'x/2' });
      },
      'a death before the attempts are used up': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'nack', { state: 'dead' });
        history.found('x', { state: 'dead', result: null });
      },
    },
    conservation: {
      'a counter that is not what the tasks add up to': (history) => {
        plainLife(history);
        history.miscounted['leased'] = 1;
      },
      'a task that stands in two places': (history) => {
        plainLife(history);
        history.found('a');
      },
    },
    time: {
      'a grant before the delay is over': (history) => {
        history.post('x', { delayMs: 500 });
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a grant before the time that the nack had named': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'nack', { state: 'scheduled', runAt: history.now + 500 });
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
      'a grant in the future, as of a broker with a clock of its own': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1, { deadline: history.now + 3_600_000 }), 'ack');
        history.found('x');
      },
      'a task that was made before it was posted': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x', { createdAt: history.now - 3_600_000 });
      },
      'a ttl that nobody looked at in time': (history) => {
        history.post('x', { ttlMs: 100 });
        const expiresAt = history.now + 100;
        const finishedAt = expiresAt + 4000;
        history.found('x', { state: 'expired', attempt: 0, deliveries: 0, expiresAt, finishedAt, result: null });
      },
    },
    idempotency: {
      'two tasks of one key': (history) => {
        history.post('x');
        history.post('x', {}, 't-other');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
        history.found('x', { task: 't-other', state: 'cancelled' });
      },
      'two holders of one unique key': (history) => {
        for (const mark of ['x', 'y']) history.post(mark, { unique: 'u' });
        for (const mark of ['x', 'y']) {
          history.settle(history.grant(mark, 1), 'ack');
          history.found(mark);
        }
      },
    },
    readiness: {
      'a broker that says that it is ready while it refuses every write': (history) => {
        plainLife(history);
        for (let count = 0; count < 20; count++) refused(history, true);
      },
    },
    liveness: {
      'no grant within five seconds after a fault has healed': (history) => {
        history.fault('redis-kill', 'inject');
        history.fault('redis-kill', 'heal');
        history.pass(5100);
        plainLife(history);
      },
      'a call that was not answered though no fault kept the answer': (history) => {
        history.post('a', {}, null, 'timeout');
        plainLife(history);
      },
      'a fault that was not healed': (history) => {
        plainLife(history);
        history.fault('redis-kill', 'inject');
      },
    },
  };
  for (const [invariant, cases] of Object.entries(breaches)) {
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

  it('lets a broker learn that it is not ready, say so, and be wrong where one write in many goes', () => {
    const history = new ScriptedHistory();
    plainLife(history);
    for (let count = 0; count < 10; count++) refused(history, true);
    for (let count = 0; count < 30; count++) refused(history, false);
    for (let count = 0; count < 30; count++) {
      refused(history, true);
      if (count % 10 === 0) plainLife(history, `w${count}`);
    }
    assert.ok(!broken(history.finish()).includes('readiness'));
  });

  it('names conservation for keys that are left when everything was deleted', () => {
    const history = new ScriptedHistory();
    plainLife(history);
    assert.deepEqual(broken(history.finish({ left: ['lessor:{0}:x:plain'] })), ['conservation']);
  });

  it('names no loss where the drain did not end', () => {
    const history = new ScriptedHistory();
    plainLife(history);
    const events = history.finish().filter(({ kind }) => kind !== 'drained');
    assert.deepEqual(broken(events), ['no loss']);
  });

  it('tells the whole story of the task that was wronged first', () => {
    const history = new ScriptedHistory();
    plainLife(history);
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
