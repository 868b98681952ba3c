import assert from 'node:assert/strict';
import { json, type Theme } from './workbench.ts';

export const settle: Theme = {
  name: 'settle',
  rules(rule) {
    rule('an ack completes the task and keeps its result', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.advance(10);
      const outcome = await bench.ack(claim, { result: json({ ok: true }) });
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'completed', attempt: 1, late: false, replayed: false },
        ...{ runAt: claim.task.runAt, leaseExpiresAt: null, cancelRequested: false },
      });
      assert.deepEqual(await bench.get(claim.id), {
        ...claim.task,
        ...{ state: 'completed', lease: null, finishedAt: bench.now(), result: '{"ok":true}' },
      });
    });

    rule('a nack records the error and schedules the task by its backoff', async (bench) => {
      const backoff = { type: 'fixed', baseMs: 700, maxMs: 5000, jitter: 0 } as const;
      const claim = await bench.putAndTake({ backoff });
      await bench.advance(10);
      const error = { code: 'smtp_421', message: 'Busy', details: json({ line: [1] }) };
      const outcome = await bench.nack(claim, { error });
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'scheduled', attempt: 1, late: false, replayed: false },
        ...{ runAt: bench.now() + 700, leaseExpiresAt: null, cancelRequested: false },
      });
      assert.deepEqual(await bench.get(claim.id), {
        ...claim.task,
        ...{ state: 'scheduled', lease: null, runAt: bench.now() + 700 },
        lastError: { code: 'smtp_421', message: 'Busy', details: '{"line":[1]}', attempt: 1, at: bench.now() },
      });
    });

    rule('a nack that says nothing records that, too', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.nack(claim, { error: { code: 'first', message: 'm', details: json(1) }, delayMs: 0 });
      const { task, token } = await bench.take();
      await bench.advance(5);
      await bench.nack({ id: task.id, token });
      const nothing = { code: null, message: null, details: null, attempt: 2, at: bench.now() };
      assert.deepEqual((await bench.get(task.id)).lastError, nothing);
    });

    rule('a delay of the worker’s own is taken instead of the backoff', async (bench) => {
      const outcome = await bench.nack(await bench.putAndTake(), { delayMs: 12_345, random: 0.9 });
      assert.equal(outcome.outcome === 'settled' && outcome.runAt, bench.now() + 12_345);
      const at = bench.now() + 10;
      await bench.advance(10);
      const back = await bench.nack(await bench.putAndTake(), { delayMs: 0, random: 0.9 });
      assert.deepEqual(back.outcome === 'settled' && [back.state, back.runAt], ['ready', at]);
    });

    rule('a nack that is not retryable leaves the task dead, with attempts to spare', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.advance(10);
      const outcome = await bench.nack(claim, { retryable: false, delayMs: 50 });
      assert.deepEqual(outcome.outcome === 'settled' && [outcome.state, outcome.runAt], ['dead', claim.task.runAt]);
      const { state, runAt, finishedAt, lease } = await bench.get(claim.id);
      assert.deepEqual([state, runAt, finishedAt, lease], ['dead', claim.task.runAt, bench.now(), null]);
    });

    rule('the nack of the last attempt leaves the task dead', async (bench) => {
      const { id } = await bench.put({ maxAttempts: 3 });
      for (const expected of ['ready', 'ready', 'dead']) {
        const { token } = await bench.take();
        const outcome = await bench.nack({ id, token }, { delayMs: 0 });
        assert.equal(outcome.outcome === 'settled' && outcome.state, expected);
      }
      assert.deepEqual(await bench.lease(), []);
    });

    rule('the queue’s attempts count for tasks that have none of their own, as they are now', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.store.configure('q', { maxAttempts: 1 }, 'merge');
      assert.equal((await bench.get(claim.id)).maxAttempts, 1);
      await bench.nack(claim);
      assert.equal(await bench.state(claim.id), 'dead');
    });

    rule('a release gives the attempt back and counts no failure', async (bench) => {
      const claim = await bench.putAndTake({ maxAttempts: 1 });
      await bench.advance(10);
      const outcome = await bench.release(claim);
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'ready', attempt: 0, late: false, replayed: false },
        ...{ runAt: claim.task.runAt, leaseExpiresAt: null, cancelRequested: false },
      });
      const expected = { ...claim.task, state: 'ready', attempt: 0, lease: null };
      assert.deepEqual(await bench.get(claim.id), expected);
      assert.equal((await bench.take()).task.attempt, 1);
    });

    rule('a release with a delay schedules; a delay of nothing does not', async (bench) => {
      const claim = await bench.putAndTake();
      const outcome = await bench.release(claim, { delayMs: 60 });
      const expected = ['scheduled', bench.now() + 60, 0];
      assert.deepEqual(outcome.outcome === 'settled' && [outcome.state, outcome.runAt, outcome.attempt], expected);
      await bench.pass(60);
      const { token } = await bench.take();
      const again = await bench.release({ id: claim.id, token }, { delayMs: 0 });
      assert.deepEqual(again.outcome === 'settled' && [again.state, again.runAt], ['ready', bench.now()]);
    });

    rule('a heartbeat moves the deadline, counted from now, by the length of the grant', async (bench) => {
      const { id } = await bench.put({ leaseMs: 9000 });
      const { token, task } = await bench.take({ leaseMs: 4000 });
      await bench.advance(1500);
      const outcome = await bench.heartbeat({ id, token });
      assert.deepEqual(outcome, {
        ...{ outcome: 'settled', queue: 'q', state: 'leased', attempt: 1, late: false, replayed: false },
        ...{ runAt: task.runAt, leaseExpiresAt: bench.now() + 4000, cancelRequested: false },
      });
      assert.deepEqual((await bench.get(id)).lease, { workerId: null, expiresAt: bench.now() + 4000 });
      assert.equal((await bench.pass(3999)).reclaimed, 0);
      assert.equal((await bench.pass(1)).reclaimed, 1);
    });

    rule('a heartbeat can ask for another length, shorter too, for this once', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 5000 });
      for (const leaseMs of [100, 20_000]) {
        const outcome = await bench.heartbeat(claim, { leaseMs });
        assert.equal(outcome.outcome === 'settled' && outcome.leaseExpiresAt, bench.now() + leaseMs);
      }
      const outcome = await bench.heartbeat(claim);
      assert.equal(outcome.outcome === 'settled' && outcome.leaseExpiresAt, bench.now() + 5000);
    });

    rule('no heartbeat extends an attempt beyond its longest run', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 5000 });
      const end = bench.now() + 8000;
      for (const [wait, expected] of [
        [2000, bench.now() + 7000],
        [2000, end],
        [3999, end],
      ] as const) {
        await bench.advance(wait);
        const outcome = await bench.heartbeat(claim, { maxRuntimeMs: 8000 });
        assert.equal(outcome.outcome === 'settled' && outcome.leaseExpiresAt, expected);
      }
      assert.equal((await bench.pass(1)).reclaimed, 1);
    });

    rule('the longest run counts from the latest grant', async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 100 });
      await bench.pass(7000);
      const { token } = await bench.take();
      await bench.advance(50);
      const outcome = await bench.heartbeat({ id: claim.id, token }, { maxRuntimeMs: 8000, leaseMs: 10_000 });
      assert.equal(outcome.outcome === 'settled' && outcome.leaseExpiresAt, bench.now() - 50 + 8000);
    });

    rule('progress and checkpoint stay until they are replaced, and JSON null clears them', async (bench) => {
      const claim = await bench.putAndTake();
      const after = async (part: { progress?: string; checkpoint?: string }): Promise<(string | null)[]> => {
        await bench.heartbeat(claim, part as Parameters<typeof bench.heartbeat>[1]);
        const { progress, checkpoint } = await bench.get(claim.id);
        return [progress, checkpoint];
      };
      assert.deepEqual(await after({}), [null, null]);
      assert.deepEqual(await after({ progress: '{"done":1}' }), ['{"done":1}', null]);
      assert.deepEqual(await after({ checkpoint: '"page 2"' }), ['{"done":1}', '"page 2"']);
      assert.deepEqual(await after({}), ['{"done":1}', '"page 2"']);
      assert.deepEqual(await after({ progress: '0', checkpoint: 'false' }), ['0', 'false']);
      assert.deepEqual(await after({ progress: 'null' }), [null, 'false']);
      assert.deepEqual(await after({ checkpoint: 'null' }), [null, null]);
    });

    rule('the checkpoint is handed to whoever leases the task next', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.heartbeat(claim, { progress: json(50), checkpoint: json({ row: 7 }) });
      await bench.nack(claim, { delayMs: 0 });
      const { task } = await bench.take();
      assert.deepEqual([task.progress, task.checkpoint], ['50', '{"row":7}']);
    });

    rule('progress and checkpoint survive the end of the task', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.heartbeat(claim, { progress: json(1), checkpoint: json(2) });
      await bench.ack(claim);
      const { progress, checkpoint, result } = await bench.get(claim.id);
      assert.deepEqual([progress, checkpoint, result], ['1', '2', null]);
    });

    rule('an ack keeps the last error of an earlier attempt', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.nack(claim, { error: { code: 'x', message: null, details: null }, delayMs: 0 });
      const { token } = await bench.take();
      await bench.ack({ id: claim.id, token });
      assert.equal((await bench.get(claim.id)).lastError?.code, 'x');
    });

    rule('the reply says no later than it is when a retry is due', async (bench) => {
      const { id, token } = await bench.putAndTake();
      const { dueAt, now } = await bench.store.settle([
        { id, token, verb: 'nack', error: null, retryable: true, delayMs: 400, random: 0 },
      ]);
      assert.equal(now, bench.now());
      assert.ok(dueAt !== null && dueAt <= bench.now() + 400, `due at ${dueAt}`);
    });

    rule('a settle is not held back by a paused queue', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.store.setPaused('q', true);
      assert.equal((await bench.nack(claim, { delayMs: 0 })).outcome, 'settled');
      assert.equal(await bench.state(claim.id), 'ready');
    });
  },
};
