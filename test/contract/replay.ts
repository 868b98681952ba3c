import assert from 'node:assert/strict';
import { ackOf, json, nackOf, releaseOf, type Theme } from './workbench.ts';

export const replay: Theme = {
  name: 'repeated settles',
  rules(rule) {
    rule('a repeated verb answers its first outcome and changes nothing', async (bench) => {
      const claim = await bench.putAndTake();
      const first = await bench.nack(claim, { error: { code: 'a', message: null, details: null }, delayMs: 700 });
      const { totals } = await bench.queue();
      const task = await bench.get(claim.id);
      await bench.advance(50);
      const again = await bench.nack(claim, {
        ...{ error: { code: 'b', message: null, details: null }, delayMs: 5 },
        retryable: false,
      });
      assert.deepEqual(again, { ...first, replayed: true });
      assert.deepEqual(await bench.get(claim.id), task);
      assert.deepEqual((await bench.queue()).totals, totals);
    });

    rule('a repeated ack does not replace the result', async (bench) => {
      const claim = await bench.putAndTake();
      const first = await bench.ack(claim, { result: json(1) });
      assert.deepEqual(await bench.ack(claim, { result: json(2) }), { ...first, replayed: true });
      assert.equal((await bench.get(claim.id)).result, '1');
    });

    rule('the first outcome is answered whatever the task has become, while nobody else holds it', async (bench) => {
      const nacked = await bench.putAndTake();
      const first = await bench.nack(nacked, { delayMs: 100 });
      await bench.pass(100);
      assert.equal(await bench.state(nacked.id), 'ready');
      assert.deepEqual(await bench.nack(nacked), { ...first, replayed: true });

      const released = await bench.putAndTake({ priority: 9, ttlMs: 500 });
      const given = await bench.release(released);
      await bench.pass(500);
      assert.equal(await bench.state(released.id), 'expired');
      assert.deepEqual(await bench.release(released), { ...given, replayed: true });
    });

    rule('a late outcome is repeated as late', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 100 });
      await bench.pass(100);
      const first = await bench.ack(claim);
      assert.equal(first.outcome === 'settled' && first.late, true);
      assert.deepEqual(await bench.ack(claim), { ...first, replayed: true });
    });

    rule('a repeated release answers the attempt it gave back', async (bench) => {
      const claim = await bench.putAndTake();
      const first = await bench.release(claim, { delayMs: 30 });
      assert.equal(first.outcome === 'settled' && first.attempt, 0);
      assert.deepEqual(await bench.release(claim), { ...first, replayed: true });
    });

    rule('the second of two equal settles in one call is a repetition', async (bench) => {
      const claim = await bench.putAndTake();
      const { results } = await bench.store.settle([ackOf(claim), ackOf(claim), nackOf(claim)]);
      assert.deepEqual(
        results.map((outcome) => (outcome.outcome === 'settled' ? outcome.replayed : outcome.code)),
        [false, true, 'already_settled'],
      );
      assert.equal((await bench.queue()).totals.acked, 1);
    });

    rule('the first of two verbs in one call wins', async (bench) => {
      const claim = await bench.putAndTake();
      const { results } = await bench.store.settle([releaseOf(claim), ackOf(claim)]);
      assert.deepEqual(results[1], { outcome: 'refused', code: 'already_settled' });
      assert.equal(await bench.state(claim.id), 'ready');
    });

    rule('a new grant has nothing settled yet', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.nack(claim, { delayMs: 0 });
      const { token } = await bench.take();
      const outcome = await bench.nack({ id: claim.id, token }, { delayMs: 0 });
      assert.deepEqual(outcome.outcome === 'settled' && [outcome.replayed, outcome.attempt], [false, 2]);
      assert.deepEqual(await bench.nack(claim), { outcome: 'refused', code: 'lease_lost' });
    });

    rule('a cancellation that was requested shows in a repeated outcome as it is stored', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.cancel(claim.id);
      const first = await bench.ack(claim);
      assert.equal(first.outcome === 'settled' && first.cancelRequested, true);
      assert.deepEqual(await bench.ack(claim), { ...first, replayed: true });
    });
  },
};
