import assert from 'node:assert/strict';
import type { LeaseEnd, LeaseEndFact } from '../../src/domain/transitions.ts';
import type { TaskState } from '../../src/domain/task.ts';
import { type Theme, type Workbench } from './workbench.ts';

type Fact = Exclude<LeaseEndFact, 'always'>;

const FACTS: readonly Fact[] = ['cancelRequested', 'ttlPassed', 'exhausted', 'delayed'];

/** Where a task goes when its lease ends, in the contract's words: the first fact that holds decides. */
function expectedState(end: LeaseEnd, facts: ReadonlySet<Fact>): TaskState {
  if (end === 'ack') return 'completed';
  if (facts.has('cancelRequested')) return 'cancelled';
  if (facts.has('ttlPassed')) return 'expired';
  if (end !== 'release' && facts.has('exhausted')) return 'dead';
  if (end !== 'expiry' && facts.has('delayed')) return 'scheduled';
  return 'ready';
}

const TERMINAL = new Set<TaskState>(['completed', 'cancelled', 'expired', 'dead']);

export const leaseEnds: Theme = {
  name: 'where a task goes when its lease ends',
  rules(rule) {
    for (const end of ['ack', 'nack', 'release', 'expiry'] as const) {
      for (const facts of subsets(FACTS)) {
        // An expiry knows no wait.
        if (end === 'expiry' && facts.has('delayed')) continue;
        const state = expectedState(end, facts);
        rule(`${end} with ${[...facts].join(', ') || 'nothing special'} → ${state}`, async (bench) => {
          await check(bench, end, facts, state);
        });
      }
    }

    rule('a nack is out of attempts when the worker says that another one is of no use', async (bench) => {
      const claim = await bench.putAndTake({ ttlMs: 100 });
      await bench.advance(100);
      await bench.nack(claim, { retryable: false });
      assert.equal(await bench.state(claim.id), 'expired');
    });

    rule('a ttl that passes while the lease runs takes nothing from the worker', async (bench) => {
      const claim = await bench.putAndTake({ ttlMs: 100 });
      assert.deepEqual(await bench.pass(1000), { ...(await bench.sweep()), dueAt: bench.now() + 29_000 });
      assert.equal((await bench.heartbeat(claim)).outcome, 'settled');
      await bench.ack(claim);
      assert.equal(await bench.state(claim.id), 'completed');
    });
  },
};

async function check(bench: Workbench, end: LeaseEnd, facts: ReadonlySet<Fact>, state: TaskState): Promise<void> {
  const claim = await bench.putAndTake({
    maxAttempts: facts.has('exhausted') ? 1 : 2,
    ttlMs: facts.has('ttlPassed') ? 500 : 100_000,
    leaseMs: 1000,
  });
  if (facts.has('cancelRequested')) await bench.cancel(claim.id);
  await bench.advance(end === 'expiry' ? 1000 : 500);
  const delayMs = facts.has('delayed') ? 250 : 0;
  if (end === 'ack') await bench.ack(claim);
  if (end === 'nack') await bench.nack(claim, { delayMs });
  if (end === 'release') await bench.release(claim, { delayMs });
  if (end === 'expiry') await bench.sweep();

  const task = await bench.get(claim.id);
  const waited = state === 'ready' && end === 'nack' ? bench.now() : claim.task.runAt;
  assert.deepEqual(task, {
    ...claim.task,
    ...{
      state,
      lease: null,
      attempt: end === 'release' ? 0 : 1,
      runAt: state === 'scheduled' ? bench.now() + 250 : waited,
    },
    ...{ finishedAt: TERMINAL.has(state) ? bench.now() : null, cancelRequested: facts.has('cancelRequested') },
    lastError: end === 'nack' || end === 'expiry' ? { ...errorOf(end), attempt: 1, at: bench.now() } : null,
  });
}

function errorOf(end: 'nack' | 'expiry'): { code: string | null; message: string | null; details: null } {
  if (end === 'nack') return { code: null, message: null, details: null };
  return { code: 'lease_expired', message: 'The lease ran out before the worker settled it.', details: null };
}

function subsets(facts: readonly Fact[]): Set<Fact>[] {
  return Array.from({ length: 2 ** facts.length }, (_, bits) => new Set(facts.filter((_fact, at) => bits & (1 << at))));
}
