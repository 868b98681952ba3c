import assert from 'node:assert/strict';
import { type Claim, json, type Theme, type Workbench } from './workbench.ts';

/** A claim whose lease of 1 s, granted just now, ran out and was swept. */
async function lateClaim(bench: Workbench, parts: Parameters<Workbench['put']>[0] = {}): Promise<Claim> {
  const claim = await bench.putAndTake({ leaseMs: 1000, ...parts });
  await bench.pass(1000);
  return claim;
}

export const late: Theme = {
  name: 'late settles',
  rules(rule) {
    rule('a late ack takes the task out of its line', async (bench) => {
      const claim = await lateClaim(bench);
      const other = await bench.put();
      await bench.advance(50);
      const outcome = await bench.ack(claim, { result: json('done') });
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'completed', attempt: 1, late: true, replayed: false },
        ...{ runAt: bench.now() - 1050, leaseExpiresAt: null, cancelRequested: false },
      });
      const { result, finishedAt, lastError } = await bench.get(claim.id);
      assert.deepEqual([result, finishedAt, lastError?.code], ['"done"', bench.now(), 'lease_expired']);
      assert.deepEqual(await bench.drain(), [other.id]);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.completed, counts.ready, totals.acked, totals.expired], [1, 0, 1, 1]);
    });

    rule('a late ack of a dead task completes it, and it is dead no more', async (bench) => {
      const claim = await lateClaim(bench, { maxAttempts: 1 });
      assert.equal(await bench.state(claim.id), 'dead');
      await bench.advance(50);
      await bench.ack(claim, { result: json(1) });
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.completed, counts.dead, totals.dead, totals.acked], [1, 0, 1, 1]);
      assert.equal((await bench.get(claim.id)).finishedAt, bench.now());
      assert.deepEqual(
        (await bench.list({ state: 'completed' })).map(({ id }) => id),
        [claim.id],
      );
      assert.deepEqual(await bench.list({ state: 'dead' }), []);
    });

    rule('a late ack of a task past its ttl completes it', async (bench) => {
      const claim = await lateClaim(bench, { ttlMs: 500 });
      assert.equal(await bench.state(claim.id), 'expired');
      await bench.ack(claim);
      assert.equal(await bench.state(claim.id), 'completed');
    });

    rule('a late nack records the error, ignores the delay and leaves the task where it stands', async (bench) => {
      const first = await lateClaim(bench);
      const other = await bench.put();
      await bench.advance(7);
      const outcome = await bench.nack(first, { error: { code: 'x', message: 'y', details: json([]) }, delayMs: 9999 });
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'ready', attempt: 1, late: true, replayed: false },
        ...{ runAt: bench.now() - 1007, leaseExpiresAt: null, cancelRequested: false },
      });
      const { lastError, attempt, runAt } = await bench.get(first.id);
      assert.deepEqual(lastError, { code: 'x', message: 'y', details: '[]', attempt: 1, at: bench.now() });
      assert.deepEqual([attempt, runAt], [1, bench.now() - 1007]);
      assert.deepEqual(await bench.drain(), [first.id, other.id]);
      assert.equal((await bench.queue()).totals.nacked, 1);
    });

    rule('a failure that was reported late counts once', async (bench) => {
      const claim = await lateClaim(bench, { maxAttempts: 2 });
      await bench.nack(claim);
      const { task, token } = await bench.take();
      assert.equal(task.attempt, 2);
      await bench.ack({ id: claim.id, token });
      assert.equal(await bench.state(claim.id), 'completed');
    });

    rule('a late nack that is not retryable leaves the task dead, out of its line', async (bench) => {
      const claim = await lateClaim(bench);
      await bench.advance(3);
      const outcome = await bench.nack(claim, { retryable: false });
      assert.deepEqual(outcome.outcome === 'settled' && [outcome.state, outcome.late], ['dead', true]);
      assert.equal((await bench.get(claim.id)).finishedAt, bench.now());
      assert.deepEqual(await bench.drain(), []);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.dead, counts.ready, totals.dead, totals.nacked], [1, 0, 1, 1]);
    });

    rule('a late nack of a dead task records the error and changes nothing else', async (bench) => {
      const claim = await lateClaim(bench, { maxAttempts: 1 });
      const before = await bench.get(claim.id);
      await bench.advance(9);
      await bench.nack(claim, { error: { code: 'late', message: null, details: null }, retryable: false });
      assert.deepEqual(await bench.get(claim.id), {
        ...before,
        lastError: { code: 'late', message: null, details: null, attempt: 1, at: bench.now() },
      });
      const { totals } = await bench.queue();
      assert.deepEqual([totals.nacked, totals.dead], [1, 1]);
    });

    rule('a late heartbeat revives the lease: same token, attempt, fence and worker', async (bench) => {
      const { id } = await bench.put();
      const { token, task } = await bench.take({ leaseMs: 1000, workerId: 'w' });
      await bench.pass(1500);
      const outcome = await bench.heartbeat({ id, token }, { progress: json(1), checkpoint: json(2) });
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'leased', attempt: 1, late: true, replayed: false },
        ...{ runAt: task.runAt, leaseExpiresAt: bench.now() + 1000, cancelRequested: false },
      });
      const revived = await bench.get(id);
      assert.deepEqual(revived.lease, { workerId: 'w', expiresAt: bench.now() + 1000 });
      assert.deepEqual([revived.attempt, revived.deliveries, revived.finishedAt], [1, 1, null]);
      assert.deepEqual([revived.progress, revived.checkpoint], ['1', '2']);
      assert.deepEqual(await bench.drain(), []);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.leased, counts.ready, totals.leased, totals.expired], [1, 0, 1, 1]);
      const ack = await bench.ack({ id, token });
      assert.deepEqual(ack.outcome === 'settled' && [ack.state, ack.late], ['completed', false]);
    });

    rule('a revived lease runs out again, and counts again', async (bench) => {
      const claim = await lateClaim(bench);
      await bench.heartbeat(claim, { leaseMs: 200 });
      assert.equal((await bench.pass(199)).reclaimed, 0);
      assert.equal((await bench.pass(1)).reclaimed, 1);
      assert.equal(await bench.state(claim.id), 'ready');
      assert.equal((await bench.queue()).totals.expired, 2);
      assert.equal((await bench.heartbeat(claim)).outcome, 'settled');
    });

    rule('a revived lease that is released goes to the front, where its expiry had put it', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      const other = await bench.put();
      await bench.pass(1000);
      await bench.heartbeat(claim);
      const released = await bench.release(claim);
      assert.equal(released.outcome === 'settled' && released.attempt, 0);
      assert.deepEqual(await bench.drain(), [claim.id, other.id]);
    });

    rule('a late heartbeat beyond the longest run has lost', async (bench) => {
      const claim = await lateClaim(bench);
      const refusal = { outcome: 'refused', code: 'lease_lost' };
      assert.deepEqual(await bench.heartbeat(claim, { maxRuntimeMs: 1000, progress: json(1) }), refusal);
      const { state, progress } = await bench.get(claim.id);
      assert.deepEqual([state, progress], ['ready', null]);
      const outcome = await bench.heartbeat(claim, { maxRuntimeMs: 1001 });
      assert.equal(outcome.outcome === 'settled' && outcome.leaseExpiresAt, bench.now() + 1);
    });

    rule(
      'a heartbeat beyond the longest run that finds the lease run out says that the task is ready',
      async (bench) => {
        const claim = await bench.putAndTake({ leaseMs: 1000 });
        await bench.advance(1000);
        const refusal = { outcome: 'refused', code: 'lease_lost' };
        assert.deepEqual(await bench.heartbeat(claim, { maxRuntimeMs: 900 }), { ...refusal, readied: 'q' });
        assert.deepEqual(await bench.heartbeat(claim, { maxRuntimeMs: 900 }), refusal);
        assert.equal((await bench.sweep()).reclaimed, 0);
      },
    );

    rule('what a refused settle brought up to date stays so', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000, maxAttempts: 1 });
      await bench.advance(1500);
      assert.equal(await bench.state(claim.id), 'leased');
      assert.deepEqual(await bench.release(claim), { outcome: 'refused', code: 'already_settled' });
      const { state, finishedAt, lastError } = await bench.get(claim.id);
      const error = { code: 'lease_expired', message: 'The lease ran out before the worker settled it.' };
      assert.deepEqual([state, finishedAt], ['dead', bench.now()]);
      assert.deepEqual(lastError, { ...error, details: null, attempt: 1, at: bench.now() });
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.dead, counts.leased, totals.expired, totals.dead], [1, 0, 1, 1]);
      assert.equal((await bench.sweep()).reclaimed, 0);
    });

    rule('a wrong token brings a waiting task past its ttl up to date, too', async (bench) => {
      const ready = await bench.put({ ttlMs: 100 });
      const scheduled = await bench.put({ ttlMs: 100, delayMs: 1000 });
      await bench.advance(100);
      for (const { id } of [ready, scheduled]) {
        assert.deepEqual(await bench.ack({ id, token: 't' }), { outcome: 'refused', code: 'lease_lost' });
        assert.equal(await bench.state(id), 'expired');
      }
      assert.deepEqual(await bench.drain(), []);
      assert.equal((await bench.sweep()).expired, 0);
    });

    rule('the deadline itself is late; the millisecond before is not', async (bench) => {
      const early = await bench.putAndTake({ leaseMs: 1000 });
      await bench.advance(999);
      const before = await bench.heartbeat(early, { leaseMs: 1000 });
      assert.equal(before.outcome === 'settled' && before.late, false);
      await bench.advance(1000);
      const at = await bench.heartbeat(early);
      assert.equal(at.outcome === 'settled' && at.late, true);
    });

    rule('a grant to another makes every verb of the late worker lose', async (bench) => {
      const claim = await lateClaim(bench);
      const { token } = await bench.take();
      for (const verb of ['ack', 'nack', 'release', 'heartbeat'] as const) {
        assert.deepEqual(await bench[verb](claim), { outcome: 'refused', code: 'lease_lost' });
      }
      assert.equal((await bench.ack({ id: claim.id, token })).outcome, 'settled');
    });
  },
};
