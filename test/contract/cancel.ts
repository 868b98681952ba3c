import assert from 'node:assert/strict';
import { json, type Theme } from './workbench.ts';

export const cancel: Theme = {
  name: 'cancel',
  rules(rule) {
    for (const force of [false, true]) {
      const how = force ? 'by force' : 'without force';
      rule(`${how}: what each state answers`, async (bench) => {
        const ids = await bench.oneOfEach();
        const answers: Record<string, unknown> = {};
        for (const [state, id] of Object.entries(ids)) {
          const outcome = await bench.cancel(id, { force });
          answers[state] = outcome.outcome === 'refused' ? outcome.code : [outcome.outcome, outcome.task.state];
        }
        assert.deepEqual(answers, {
          scheduled: ['cancelled', 'cancelled'],
          ready: ['cancelled', 'cancelled'],
          leased: force ? ['cancelled', 'cancelled'] : ['requested', 'leased'],
          completed: 'already_settled',
          dead: 'already_settled',
          cancelled: ['cancelled', 'cancelled'],
          expired: 'already_settled',
        });
        assert.deepEqual(await bench.cancel('never', { force }), { outcome: 'refused', code: 'task_not_found' });
      });
    }

    rule('a waiting task is cancelled at once, with the reason', async (bench) => {
      const stored = await bench.put({ delayMs: 1000 });
      await bench.advance(10);
      const outcome = await bench.cancel(stored.id, { reason: 'not needed' });
      const task = {
        ...stored,
        ...{ state: 'cancelled', finishedAt: bench.now() },
        lastError: { code: 'cancelled', message: 'not needed', details: null, attempt: 0, at: bench.now() },
      };
      assert.deepEqual(outcome, { outcome: 'cancelled', task });
      assert.deepEqual(await bench.get(stored.id), task);
    });

    rule('without a reason the last error stays', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.nack(claim, { error: { code: 'x', message: null, details: null }, delayMs: 0 });
      await bench.cancel(claim.id);
      assert.equal((await bench.get(claim.id)).lastError?.code, 'x');
    });

    rule('a cancelled task is never granted, and its line moves on', async (bench) => {
      const tasks = await bench.putAll([{}, {}, {}, {}]);
      await bench.cancel(tasks[0]?.id ?? '');
      await bench.cancel(tasks[2]?.id ?? '');
      assert.deepEqual(await bench.drain(), [tasks[1]?.id, tasks[3]?.id]);
    });

    rule('a cancelled scheduled task is never promoted', async (bench) => {
      const { id } = await bench.put({ delayMs: 100 });
      await bench.cancel(id);
      assert.equal((await bench.pass(100)).promoted, 0);
      assert.deepEqual(await bench.drain(), []);
    });

    rule('cancelled again: the same answer, nothing changed', async (bench) => {
      const { id } = await bench.put();
      const first = await bench.cancel(id, { reason: 'a' });
      await bench.advance(10);
      assert.deepEqual(await bench.cancel(id, { reason: 'b', force: true }), first);
    });

    rule('a worker that holds the task is told at its heartbeat', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.advance(3);
      const outcome = await bench.cancel(claim.id, { reason: 'stop' });
      const task = {
        ...claim.task,
        cancelRequested: true,
        lastError: { code: 'cancelled', message: 'stop', details: null, attempt: 1, at: bench.now() },
      };
      assert.deepEqual(outcome, { outcome: 'requested', task });
      const beat = await bench.heartbeat(claim);
      assert.equal(beat.outcome === 'settled' && beat.cancelRequested, true);
    });

    rule('a requested cancellation does not keep an ack from completing the task', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.cancel(claim.id);
      const outcome = await bench.ack(claim, { result: json(1) });
      assert.equal(outcome.outcome === 'settled' && outcome.state, 'completed');
      const { state, cancelRequested } = await bench.get(claim.id);
      assert.deepEqual([state, cancelRequested], ['completed', true]);
    });

    rule('a nack, a release and an expiry carry a requested cancellation out', async (bench) => {
      for (const end of ['nack', 'release', 'expiry'] as const) {
        const claim = await bench.putAndTake({ leaseMs: 1000 });
        await bench.cancel(claim.id);
        if (end === 'expiry') await bench.pass(1000);
        else {
          const outcome = await bench[end](claim, { delayMs: 50 });
          assert.deepEqual(outcome.outcome === 'settled' && [outcome.state, outcome.cancelRequested], [
            'cancelled',
            true,
          ]);
        }
        const { state, attempt, cancelRequested, finishedAt } = await bench.get(claim.id);
        assert.deepEqual([state, cancelRequested, finishedAt], ['cancelled', true, bench.now()], end);
        assert.equal(attempt, end === 'release' ? 0 : 1);
      }
    });

    rule('force takes the task from its worker at once', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.advance(5);
      const outcome = await bench.cancel(claim.id, { force: true });
      const expected = { ...claim.task, state: 'cancelled', lease: null, finishedAt: bench.now() };
      assert.deepEqual(outcome, { outcome: 'cancelled', task: expected });
      assert.equal((await bench.pass(30_000)).reclaimed, 0);
    });

    rule('force after a request: cancelled, the request stays to be seen', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.cancel(claim.id, { reason: 'please' });
      await bench.cancel(claim.id, { force: true });
      const { state, cancelRequested, lastError } = await bench.get(claim.id);
      assert.deepEqual([state, cancelRequested, lastError?.message], ['cancelled', true, 'please']);
    });

    rule('a lease that ran out unnoticed is over before the task is cancelled', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      await bench.advance(1000);
      const outcome = await bench.cancel(claim.id);
      assert.equal(outcome.outcome, 'cancelled');
      const { state, cancelRequested, lastError } = await bench.get(claim.id);
      assert.deepEqual([state, cancelRequested, lastError?.code], ['cancelled', false, 'lease_expired']);
      assert.equal((await bench.queue()).totals.expired, 1);
    });

    rule('what is over by time alone is refused, and stays so', async (bench) => {
      const dead = await bench.putAndTake({ leaseMs: 1000, maxAttempts: 1 });
      const expired = await bench.put({ ttlMs: 1000 });
      await bench.advance(1000);
      for (const [id, state] of [
        [dead.id, 'dead'],
        [expired.id, 'expired'],
      ] as const) {
        const refusal = { outcome: 'refused', code: 'already_settled' };
        assert.deepEqual(await bench.cancel(id, { reason: 'r', force: true }), refusal);
        assert.equal(await bench.state(id), state);
        assert.notEqual((await bench.get(id)).lastError?.code, 'cancelled');
      }
    });

    rule('a request that had been made is carried out by the lease’s end that a cancel discovers', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      await bench.cancel(claim.id);
      await bench.advance(1000);
      const outcome = await bench.cancel(claim.id, { reason: 'again' });
      assert.equal(outcome.outcome, 'cancelled');
      assert.equal((await bench.get(claim.id)).lastError?.code, 'lease_expired');
    });
  },
};
