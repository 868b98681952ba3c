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
    plainLife(history, 'ended');
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
    plainLife(history, 'b');
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

  const breaches: Record<InvariantName, Record<string, (history: ScriptedHistory) => void>> = {
    'no loss': {
      'a task with a 2xx that is nowhere': (history) => history.post('x'),
      'an ack that was taken back': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x', { state: 'dead', attempt: 3, result: null });
      },
      'a task that is granted and completed after a cancellation was confirmed': (history) => {
        history.post('x');
        history.cancel('x', 'cancelled');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a task that is granted and completed after a nack was told that it is dead': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'nack', { state: 'dead' }, { retryable: false });
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
      'a batch of two that is answered with one task': (history) => {
        history.postMany(['x', 'y'], ['x']);
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a cancellation that is told that a stored task does not exist': (history) => {
        plainLife(history, 'x');
        history.cancel('x', { status: 404, code: 'task_not_found' });
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
      'a group that has been forgotten': (history) => {
        history.post('x', { groupKey: 'g' });
        history.settle(history.grant('x', 1, { groupKey: null }), 'ack');
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
      'one grant that is told to two callers': (history) => {
        history.post('x');
        const held = history.grant('x', 1);
        history.grantAgain(held);
        history.settle(held, 'ack');
        history.found('x');
      },
      'one grant that is told to callers with two request ids': (history) => {
        history.post('x');
        const held = history.grant('x', 1, {}, { requestId: 'r' });
        history.grantAgain(held, { requestId: 's' });
        history.settle(held, 'ack');
        history.found('x');
      },
      'two tasks of one group at the same time, of which the store has forgotten that': (history) => {
        for (const mark of ['x', 'y']) history.post(mark, { groupKey: 'g' });
        const grants = ['x', 'y'].map((mark) => history.grant(mark, 1, { groupKey: null }));
        for (const grant of grants) {
          history.settle(grant, 'ack');
          history.found(grant.mark);
        }
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
      'a holder that is refused because of a cancellation that was not by force': (history) => {
        history.post('x');
        const held = history.grant('x', 1);
        history.cancel('x', 'leased');
        history.settle(held, 'ack', { status: 409, code: 'task_cancelled' });
        history.found('x', { state: 'cancelled', result: null });
      },
      'a holder that is refused after a cancellation that was refused': (history) => {
        history.post('x');
        const held = history.grant('x', 1);
        history.cancel('x', { status: 409, code: 'already_settled' }, true);
        history.settle(held, 'ack', { status: 409, code: 'task_cancelled' });
        history.found('x', { state: 'cancelled', result: null });
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
      'a death after one grant, with all attempts used up': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'nack', { state: 'ready', runAt: history.now });
        history.pass(5000);
        history.found('x', { state: 'dead', attempt: 3, result: null });
      },
      'a death that counts more attempts than the last grant had': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'release', { state: 'ready' });
        history.settle(history.grant('x', 2, { attempt: 1 }), 'nack', { state: 'dead' });
        history.found('x', { state: 'dead', attempt: 2, maxAttempts: 2, deliveries: 2, result: null });
      },
      'a death without any grant': (history) => {
        history.post('x');
        history.pass(5000);
        history.found('x', { state: 'dead', attempt: 3, deliveries: 0, result: null });
      },
      'a death by leases that nobody knows of, sooner than they could run out': (history) => {
        history.post('x');
        history.pollUnknown();
        history.pass(500);
        history.found('x', { state: 'dead', attempt: 3, deliveries: 3, result: null });
      },
      'fewer attempts than were posted': (history) => {
        history.post('x', { maxAttempts: 6 });
        history.settle(history.grant('x', 1, { maxAttempts: 1 }), 'nack', { state: 'dead' });
        history.found('x', { state: 'dead', maxAttempts: 1, result: null });
      },
      'fewer attempts than were posted, as the census finds them': (history) => {
        history.post('x', { maxAttempts: 6 });
        history.settle(history.grant('x', 1), 'ack');
        history.found('x', { maxAttempts: 5 });
      },
      'a death by a final nack that was refused': (history) => {
        history.post('x');
        const first = history.grant('x', 1);
        history.pass(1100);
        history.grant('x', 2);
        history.settle(first, 'nack', { status: 409, code: 'lease_lost' }, { retryable: false });
        history.found('x', { state: 'dead', attempt: 2, deliveries: 2, result: null });
      },
      'a death by a final nack of an earlier grant': (history) => {
        history.post('x');
        const first = history.grant('x', 1);
        history.settle(first, 'nack', null, { retryable: false });
        history.pass(1100);
        history.settle(history.grant('x', 2), 'nack', { state: 'dead' });
        history.found('x', { state: 'dead', attempt: 2, deliveries: 2, result: null });
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
      'a task that was made after it was told of': (history) => {
        history.post('x');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x', { createdAt: history.now + 3_600_000 });
      },
      'a task that has expired before its ttl was over': (history) => {
        history.post('x', { ttlMs: 60_000 });
        const expiresAt = history.now + 50;
        history.found('x', {
          ...{ state: 'expired', attempt: 0, deliveries: 0, result: null },
          expiresAt,
          finishedAt: expiresAt,
        });
      },
      'a task that has expired before its time': (history) => {
        history.post('x', { ttlMs: 60_000 });
        history.found('x', { state: 'expired', attempt: 0, deliveries: 0, result: null });
      },
      'a grant with another ttl than was posted': (history) => {
        history.post('x', { ttlMs: 60_000 });
        history.settle(history.grant('x', 1, { expiresAt: null }), 'ack');
        history.found('x');
      },
      'a delayed task that is not granted to a worker that asks': (history) => {
        history.post('x', { delayMs: 10 });
        history.pass(50_000);
        history.pollInVain();
        history.pass(100);
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a delayed task that is overtaken by one that was posted long after it was due': (history) => {
        history.post('x', { delayMs: 10 });
        history.pass(20_000);
        plainLife(history, 'y');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a lease that ran out and is not granted to a worker that asks': (history) => {
        history.post('x');
        history.grant('x', 1);
        history.pass(50_000);
        history.pollInVain();
        history.pass(100);
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
      },
      'a nacked task of a group of which nothing runs, that is not granted to a worker that asks': (history) => {
        history.post('x', { groupKey: 'g' });
        history.settle(history.grant('x', 1), 'nack', { state: 'scheduled', runAt: history.now + 10 });
        history.pass(50_000);
        history.pollInVain();
        history.pass(100);
        history.settle(history.grant('x', 2), 'ack');
        history.found('x', { attempt: 2, deliveries: 2, result: 'x/2' });
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
      'a post that is answered with a holder that had let go of the key': (history) => {
        history.post('x', { unique: 'u' });
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
        history.pass(60_000);
        history.postInVain('y', 'x', { unique: 'u' });
      },
      'a post without a unique key that is answered with another task': (history) => {
        history.post('x');
        history.postInVain('y', 'x');
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'a post that is answered with the holder of another key': (history) => {
        history.post('x', { unique: 'u' });
        history.postInVain('y', 'x', { unique: 'v' });
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
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
      'a post that is refused': (history) => {
        plainLife(history);
        history.postRefused('x', 422, 'validation_failed');
      },
      'a lease that is refused': (history) => {
        plainLife(history);
        history.pollInVain({ status: 404, code: 'queue_not_found' });
      },
      'a verb that is refused for a reason that no verb has': (history) => {
        history.post('x');
        const held = history.grant('x', 1);
        history.settle(held, 'ack', { status: 422, code: 'validation_failed' });
        history.settle(held, 'ack');
        history.found('x');
      },
      'an error of the broker itself': (history) => {
        history.fault('broker-kill', 'inject');
        history.post('a', {}, null, 'internal_error', 500);
        history.fault('broker-kill', 'heal');
        plainLife(history);
      },
      'a call that goes on being refused when all has healed': (history) => {
        history.fault('redis-kill', 'inject');
        history.fault('redis-kill', 'heal');
        plainLife(history);
        const call = history.post('x', {}, null, 'store_unavailable', 503);
        for (let count = 0; count < 60; count++) {
          history.pass(100);
          history.post('x', {}, null, 'store_unavailable', 503, call);
        }
      },
      'a queue from which nothing is granted for five seconds after a fault has healed, while others are served': (
        history,
      ) => {
        history.post('x');
        history.post('y', { queue: 'other' });
        history.fault('redis-kill', 'inject');
        history.fault('redis-kill', 'heal');
        history.settle(history.grant('y', 1, { queue: 'other' }), 'ack');
        history.found('y', { queue: 'other' });
        history.pass(6000);
        history.settle(history.grant('x', 1), 'ack');
        history.found('x');
      },
      'no grant within five seconds after the store could do everything, though the fault healed later': (history) => {
        history.fault('primary-kill', 'inject');
        const mendedAt = history.now;
        history.pass(14_000);
        history.fault('primary-kill', 'heal', { mendedAt });
        plainLife(history);
      },
      'a call of one worker that is not answered while another one stands still': (history) => {
        history.fault('worker-freeze', 'inject', { silences: true, onlyWorkers: true });
        history.post('a', {}, null, 'timeout');
        history.fault('worker-freeze', 'heal', { silences: true, onlyWorkers: true, whom: 'w1' });
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

  for (const kind of ['found', 'counts', 'examined', 'left'] as const) {
    it(`names conservation or no loss where nobody has looked at what was left: no event of the kind ${kind}`, () => {
      const history = new ScriptedHistory();
      plainLife(history);
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
