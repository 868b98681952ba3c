import assert from 'node:assert/strict';
import type { NewTask } from '../../src/domain/task.ts';
import { held, json, type Theme, type Workbench } from './workbench.ts';

/** Tasks of every kind that takes more than its own record to store. */
function kinds(number: number): Partial<NewTask>[] {
  const own = { payload: json(number) };
  return [
    own,
    { ...own, groupKey: `g${number % 3}`, leaseMs: 100 },
    { ...own, groupKey: 'g0', ttlMs: 300, priority: 9 },
    { ...own, unique: { key: `u${number}`, until: 'finished', ttlMs: null, onConflict: 'replace' } },
    { ...own, unique: { key: 's', until: 'started', ttlMs: null, onConflict: 'return' }, delayMs: 200 },
    { ...own, unique: { key: `t${number}`, until: 'ttl', ttlMs: 50, onConflict: 'replace' } },
    { ...own, idempotency: { key: `k${number}`, fingerprint: 'f' }, maxAttempts: 1, tags: ['x'] },
    { ...own, retentionMs: 5000, ttlMs: 400 },
    { ...own, retentionMs: 50, groupKey: 'g1' },
  ];
}

/** A little of everything that can happen to tasks. */
async function busyRound(bench: Workbench, round: number): Promise<void> {
  const ids = (await bench.putAll(kinds(round))).map(({ id }) => id);
  await bench.store.cancel([{ id: ids[round % ids.length] ?? '', reason: 'enough', force: true }]);
  const grants = [
    ...(await bench.lease({ max: 2, requestId: `r${round}`, leaseMs: 150 })),
    ...(await bench.lease({ max: 3, leaseMs: 150 })),
  ];
  for (const [index, grant] of grants.entries()) {
    const claim = held(grant);
    await bench.heartbeat(claim, { progress: json(round), checkpoint: json([round]) });
    switch ((index + round) % 5) {
      case 0:
        await bench.ack(claim, { result: json({ round }) });
        break;
      case 1:
        await bench.nack(claim, { retryable: round % 2 === 0, delayMs: 100 });
        break;
      case 2:
        await bench.release(claim, { delayMs: 50 });
        break;
      case 3:
        await bench.ack(claim);
        break;
    }
  }
  await bench.pass(120);
  const dead = (await bench.list({ state: 'dead', order: 'newest', limit: 5 })).slice(0, 1);
  for (const { id } of dead) await bench.redrive(id);
}

export const census: Theme = {
  name: 'what is left behind',
  rules(rule) {
    rule('is sound at any time of a busy day', async (bench) => {
      const limits = { maxConcurrency: 4, rateLimit: { limit: 100, periodMs: 1000 }, maxBacklog: 500 };
      await bench.store.configure(
        'q',
        { ...limits, retention: { completedMs: 1000, completedMax: 20, deadMs: 3000 } },
        'merge',
      );
      for (let round = 0; round < 12; round++) {
        await busyRound(bench, round);
        assert.deepEqual(await bench.findings(), []);
      }
      await bench.store.configure('q', {}, 'replace');
      for (const grant of await bench.lease({ max: 100 })) await bench.ack(held(grant));
      await bench.pass(1000);
      assert.deepEqual(await bench.findings(), []);
    });

    rule('nothing is, once all that a busy day brought has been done and pruned', async (bench) => {
      const limits = { maxConcurrency: 4, rateLimit: { limit: 100, periodMs: 1000 }, maxBacklog: 500 };
      const retention = { completedMs: 1000, completedMax: 20, deadMs: 3000 };
      await bench.store.configure('q', { ...limits, retention }, 'merge');
      await bench.sweep();
      const baseline = await bench.stored();
      for (let round = 0; round < 30; round++) await busyRound(bench, round);
      assert.ok((await bench.stored()).length > baseline.length);
      for (let round = 0; round < 200 && (await bench.list()).some(({ finishedAt }) => finishedAt === null); round++) {
        for (const grant of await bench.lease({ max: 100 })) await bench.ack(held(grant));
        await bench.pass(200);
      }
      // As long as anything is remembered: the retention of tasks, and idempotency keys.
      await bench.pass(86_400_000);
      await bench.pass(1);
      await bench.store.configure('q', {}, 'replace');
      await bench.sweep();
      assert.deepEqual(await bench.list(), []);
      assert.deepEqual(await bench.stored(), baseline);
    });

    rule('nothing is by tasks that were purged in every state', async (bench) => {
      const baseline = await bench.stored();
      for (let round = 0; round < 10; round++) await busyRound(bench, round);
      for (const state of ['blocked', 'ready', 'scheduled', 'leased'] as const)
        await bench.store.purge('q', state, 1000);
      for (const state of ['completed', 'dead', 'cancelled', 'expired'] as const) {
        await bench.store.purge('q', state, 1000);
      }
      assert.deepEqual(await bench.list(), []);
      assert.equal(await bench.store.dropQueue('q'), 'deleted');
      await bench.pass(86_400_000);
      assert.deepEqual(await bench.stored(), baseline);
    });
  },
};
