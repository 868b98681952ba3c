import type { InvariantName } from './invariant.ts';
import type { ScriptedHistory } from './scripted-history.ts';

/** What breaks each invariant, in words, and how it comes about. */
export const BREACHES: Readonly<Record<InvariantName, Record<string, (history: ScriptedHistory) => void>>> = {
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
      history.live('x');
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
      history.live();
      history.miscounted['leased'] = 1;
    },
    'a task that stands in two places': (history) => {
      history.live();
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
      history.live('y');
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
      history.live();
      for (let count = 0; count < 20; count++) history.refusedWhile(true);
    },
  },
  liveness: {
    'no grant within five seconds after a fault has healed': (history) => {
      history.fault('redis-kill', 'inject');
      history.fault('redis-kill', 'heal');
      history.pass(5100);
      history.live();
    },
    'a post that is refused': (history) => {
      history.live();
      history.postRefused('x', 422, 'validation_failed');
    },
    'a lease that is refused': (history) => {
      history.live();
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
      history.live();
    },
    'a call that goes on being refused when all has healed': (history) => {
      history.fault('redis-kill', 'inject');
      history.fault('redis-kill', 'heal');
      history.live();
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
      history.live();
    },
    'a call of one worker that is not answered while another one stands still': (history) => {
      history.fault('worker-freeze', 'inject', { silences: true, onlyWorkers: true });
      history.post('a', {}, null, 'timeout');
      history.fault('worker-freeze', 'heal', { silences: true, onlyWorkers: true, whom: 'w1' });
      history.live();
    },
    'a call that was not answered though no fault kept the answer': (history) => {
      history.post('a', {}, null, 'timeout');
      history.live();
    },
    'a fault that was not healed': (history) => {
      history.live();
      history.fault('redis-kill', 'inject');
    },
  },
};
