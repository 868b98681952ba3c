import assert from 'node:assert/strict';
import type { ProblemCode } from '../../src/domain/problems.ts';
import type { TaskState } from '../../src/domain/task.ts';
import {
  SETTLE_CASES,
  SETTLE_TABLE,
  SETTLE_VERBS,
  type SettleCase,
  type SettleVerb,
  type Verdict,
} from '../../src/domain/transitions.ts';
import type { SettleOutcome } from '../../src/store/store.ts';
import { ackOf, type Claim, heartbeatOf, nackOf, releaseOf, type Theme, type Workbench } from './workbench.ts';

/** What a verb is answered: a refusal, or the state it leads to. */
type Answer = { refused: ProblemCode } | { state: string; late?: true; replayed?: true };

/** A way to meet a case, and what each verb then answers. */
interface Way {
  /** Under `repeated`, the other verbs meet `settled` or `cancelled`. */
  case: SettleCase;
  how: string;
  reach: (bench: Workbench) => Promise<Claim>;
  /** Time has changed the task, which only the settle itself will notice: the state it then has. */
  unnoticed?: TaskState;
  answers: Record<SettleVerb, Answer>;
}

const refused = (code: ProblemCode): Answer => ({ refused: code });
const all = (answer: Answer): Record<SettleVerb, Answer> => ({
  ack: answer,
  nack: answer,
  release: answer,
  heartbeat: answer,
});

const notFound = all(refused('task_not_found'));
const lost = all(refused('lease_lost'));
const cancelled = all(refused('task_cancelled'));
const settled = refused('already_settled');
const lapsed = (state: string): Record<SettleVerb, Answer> => ({
  ack: { state: 'completed', late: true },
  nack: { state, late: true },
  release: refused('already_settled'),
  heartbeat: refused('lease_lost'),
});
const late: Record<SettleVerb, Answer> = {
  ack: { state: 'completed', late: true },
  nack: { state: 'ready', late: true },
  release: refused('lease_lost'),
  heartbeat: { state: 'leased', late: true },
};

/** The lease of a task that had `maxAttempts` attempts runs out. */
async function runOut(bench: Workbench, sweep: boolean, parts: Parameters<Workbench['put']>[0]): Promise<Claim> {
  const claim = await bench.putAndTake({ leaseMs: 1000, ...parts });
  await bench.advance(1000);
  if (sweep) await bench.sweep();
  return claim;
}

/**
 * The contract's table (what each verb answers), literally, times the ways in which a worker gets there. It makes this
 * file long; it is one table, which is read best in one place.
 */
const WAYS: readonly Way[] = [
  {
    case: 'unknown',
    how: 'an id that was never stored',
    reach: async (bench) => ({ id: bench.store.newTaskId('q'), token: 't' }),
    answers: notFound,
  },
  {
    case: 'unknown',
    how: 'an id that no store ever made',
    reach: async () => ({ id: 'no-such-task', token: 't' }),
    answers: notFound,
  },
  {
    case: 'unknown',
    how: 'a removed task',
    reach: async (bench) => {
      const claim = await bench.putAndTake();
      await bench.ack(claim);
      await bench.store.remove([claim.id]);
      return claim;
    },
    answers: notFound,
  },
  {
    case: 'unknown',
    how: 'a pruned task',
    reach: async (bench) => {
      const claim = await bench.putAndTake();
      await bench.ack(claim);
      await bench.pass(600_000);
      return claim;
    },
    answers: notFound,
  },
  {
    case: 'unknown',
    how: 'a leased task that was purged',
    reach: async (bench) => {
      const claim = await bench.putAndTake();
      await bench.store.purge('q', 'leased', 10);
      return claim;
    },
    answers: notFound,
  },
  {
    case: 'superseded',
    how: 'a token that was never given out',
    reach: async (bench) => ({ id: (await bench.putAndTake()).id, token: 'foreign' }),
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'a token that was never given out, and the lease ran out unnoticed',
    reach: async (bench) => ({ id: (await runOut(bench, false, {})).id, token: 'foreign' }),
    unnoticed: 'ready',
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'a token that was never given out, and the last lease ran out unnoticed',
    reach: async (bench) => ({ id: (await runOut(bench, false, { maxAttempts: 1 })).id, token: 'foreign' }),
    unnoticed: 'dead',
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'a task that was never granted',
    reach: async (bench) => ({ id: (await bench.put()).id, token: 't' }),
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'an empty token for a task that was never granted',
    reach: async (bench) => ({ id: (await bench.put()).id, token: '' }),
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'granted to another since',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      await bench.take();
      return claim;
    },
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'completed by another since',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      const { token } = await bench.take();
      await bench.ack({ id: claim.id, token });
      return claim;
    },
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'cancelled after another was granted it',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      await bench.take();
      await bench.cancel(claim.id, { force: true });
      return claim;
    },
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'redriven since',
    reach: async (bench) => {
      const claim = await runOut(bench, true, { maxAttempts: 1 });
      await bench.redrive(claim.id);
      return claim;
    },
    answers: lost,
  },
  {
    case: 'superseded',
    how: 'cancelled before it was ever granted',
    reach: async (bench) => {
      const { id } = await bench.put();
      await bench.cancel(id);
      return { id, token: 't' };
    },
    answers: lost,
  },
  ...(
    [
      ['ack', 'completed', {}],
      ['nack', 'scheduled', { delayMs: 500 }],
      ['nack', 'ready', { delayMs: 0 }],
      ['nack', 'dead', { retryable: false }],
      ['release', 'ready', {}],
      ['release', 'scheduled', { delayMs: 500 }],
    ] as const
  ).map(([verb, state, part]): Way => {
    const others: Record<SettleVerb, Answer> = { ...all(settled), [verb]: { state, replayed: true } };
    return {
      case: 'repeated',
      how: `a ${verb} that led to ${state}`,
      reach: async (bench) => {
        const claim = await bench.putAndTake();
        await bench[verb](claim, part);
        return claim;
      },
      answers: others,
    };
  }),
  {
    case: 'repeated',
    how: 'a late ack',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      await bench.ack(claim);
      return claim;
    },
    answers: { ...all(settled), ack: { state: 'completed', late: true, replayed: true } },
  },
  {
    case: 'repeated',
    how: 'a late nack',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      await bench.nack(claim);
      return claim;
    },
    answers: { ...all(settled), nack: { state: 'ready', late: true, replayed: true } },
  },
  {
    case: 'repeated',
    how: 'a late nack of a dead task',
    reach: async (bench) => {
      const claim = await runOut(bench, true, { maxAttempts: 1 });
      await bench.nack(claim);
      return claim;
    },
    answers: { ...all(settled), nack: { state: 'dead', late: true, replayed: true } },
  },
  {
    case: 'repeated',
    how: 'a nack that carried out a cancellation',
    reach: async (bench) => {
      const claim = await bench.putAndTake();
      await bench.cancel(claim.id);
      await bench.nack(claim);
      return claim;
    },
    answers: { ...cancelled, nack: { state: 'cancelled', replayed: true } },
  },
  {
    case: 'repeated',
    how: 'a release of a task that was cancelled after it',
    reach: async (bench) => {
      const claim = await bench.putAndTake();
      await bench.release(claim);
      await bench.cancel(claim.id);
      return claim;
    },
    answers: { ...cancelled, release: { state: 'ready', replayed: true } },
  },
  {
    case: 'repeated',
    how: 'a nack of a task that passed its ttl after it',
    reach: async (bench) => {
      const claim = await bench.putAndTake({ ttlMs: 2000 });
      await bench.nack(claim, { delayMs: 500 });
      await bench.advance(2000);
      return claim;
    },
    unnoticed: 'expired',
    answers: { ...all(settled), nack: { state: 'scheduled', replayed: true } },
  },
  {
    case: 'cancelled',
    how: 'cancelled by force while leased',
    reach: async (bench) => {
      const claim = await bench.putAndTake();
      await bench.cancel(claim.id, { force: true });
      return claim;
    },
    answers: cancelled,
  },
  {
    case: 'cancelled',
    how: 'cancelled after its lease ran out',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      await bench.cancel(claim.id);
      return claim;
    },
    answers: cancelled,
  },
  {
    case: 'cancelled',
    how: 'a requested cancellation, and the lease ran out',
    reach: async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      await bench.cancel(claim.id);
      await bench.pass(1000);
      return claim;
    },
    answers: cancelled,
  },
  {
    case: 'cancelled',
    how: 'a requested cancellation, and the lease ran out unnoticed',
    reach: async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      await bench.cancel(claim.id);
      await bench.advance(1000);
      return claim;
    },
    unnoticed: 'cancelled',
    answers: cancelled,
  },
  {
    case: 'lapsed',
    how: 'dead, only because the lease ran out',
    reach: (bench) => runOut(bench, true, { maxAttempts: 1 }),
    answers: lapsed('dead'),
  },
  {
    case: 'lapsed',
    how: 'the last lease ran out unnoticed',
    reach: (bench) => runOut(bench, false, { maxAttempts: 1 }),
    unnoticed: 'dead',
    answers: lapsed('dead'),
  },
  {
    case: 'lapsed',
    how: 'expired, as its ttl had passed when the lease ran out',
    reach: (bench) => runOut(bench, true, { ttlMs: 900 }),
    answers: lapsed('expired'),
  },
  {
    case: 'lapsed',
    how: 'its ttl had passed when the lease ran out unnoticed',
    reach: (bench) => runOut(bench, false, { ttlMs: 900 }),
    unnoticed: 'expired',
    answers: lapsed('expired'),
  },
  {
    case: 'lapsed',
    how: 'ready again after its lease, then past its ttl',
    reach: async (bench) => {
      const claim = await runOut(bench, true, { ttlMs: 2000 });
      await bench.pass(1000);
      return claim;
    },
    answers: lapsed('expired'),
  },
  {
    case: 'lapsed',
    how: 'ready again after its lease, then past its ttl unnoticed',
    reach: async (bench) => {
      const claim = await runOut(bench, true, { ttlMs: 2000 });
      await bench.advance(1000);
      return claim;
    },
    unnoticed: 'expired',
    answers: lapsed('expired'),
  },
  { case: 'late', how: 'the lease ran out', reach: (bench) => runOut(bench, true, {}), answers: late },
  {
    case: 'late',
    how: 'the lease ran out unnoticed',
    reach: (bench) => runOut(bench, false, {}),
    unnoticed: 'ready',
    answers: late,
  },
  {
    case: 'held',
    how: 'leased',
    reach: (bench) => bench.putAndTake(),
    answers: {
      ack: { state: 'completed' },
      nack: { state: 'scheduled' },
      release: { state: 'ready' },
      heartbeat: { state: 'leased' },
    },
  },
  {
    case: 'held',
    how: 'revived by a late heartbeat',
    reach: async (bench) => {
      const claim = await runOut(bench, true, {});
      await bench.heartbeat(claim);
      return claim;
    },
    answers: {
      ack: { state: 'completed' },
      nack: { state: 'scheduled' },
      release: { state: 'ready' },
      heartbeat: { state: 'leased' },
    },
  },
  {
    case: 'held',
    how: 'one millisecond before the deadline',
    reach: async (bench) => {
      const claim = await bench.putAndTake({ leaseMs: 1000 });
      await bench.pass(999);
      return claim;
    },
    answers: {
      ack: { state: 'completed' },
      nack: { state: 'scheduled' },
      release: { state: 'ready' },
      heartbeat: { state: 'leased' },
    },
  },
];

const ITEMS = { ack: ackOf, nack: nackOf, release: releaseOf, heartbeat: heartbeatOf };

export const settleTable: Theme = {
  name: 'what each verb answers',
  rules(rule) {
    const met = new Map<string, Answer>();
    for (const way of WAYS) {
      for (const verb of SETTLE_VERBS) {
        const answer = way.answers[verb];
        const name = caseOf(way, answer);
        met.set(`${name} × ${verb}`, answer);
        rule(`${name} (${way.how}): ${verb} → ${wordsFor(answer)}`, (bench) => check(bench, way, verb, answer));
      }
    }

    rule('every cell of the table is met by one of these, and says the same', async () => {
      for (const name of SETTLE_CASES) {
        for (const verb of SETTLE_VERBS) {
          // A heartbeat settles nothing that could be repeated.
          if (name === 'repeated' && verb === 'heartbeat') continue;
          const answer = met.get(`${name} × ${verb}`);
          assert.ok(answer, `${name} × ${verb} is not met`);
          assert.equal(SETTLE_TABLE[name][verb], verdictOf(answer), `${name} × ${verb}`);
        }
      }
    });
  },
};

function caseOf(way: Way, answer: Answer): SettleCase {
  if (way.case !== 'repeated' || !('refused' in answer)) return way.case;
  return answer.refused === 'task_cancelled' ? 'cancelled' : 'settled';
}

function verdictOf(answer: Answer): Verdict {
  if ('refused' in answer) return answer.refused;
  if (answer.replayed) return 'replay';
  return answer.late ? 'late' : 'accept';
}

async function check(bench: Workbench, way: Way, verb: SettleVerb, answer: Answer): Promise<void> {
  const claim = await way.reach(bench);
  const before = await bench.find(claim.id);
  const outcome = await bench.settle(ITEMS[verb](claim));
  const after = await bench.find(claim.id);
  if ('refused' in answer) {
    const refusal = { outcome: 'refused', code: answer.refused };
    assert.deepEqual(outcome, way.unnoticed === 'ready' ? { ...refusal, readied: 'q' } : refusal);
  } else {
    const { state, late: wasLate = false, replayed = false } = answer;
    assert.deepEqual(seen(outcome), { outcome: 'settled', state, late: wasLate, replayed });
  }
  if (!('refused' in answer) && !answer.replayed) assert.equal(after?.state, answer.state);
  else if (way.unnoticed) assert.equal(after?.state, way.unnoticed);
  else assert.deepEqual(after, before);
}

function seen(outcome: SettleOutcome): unknown {
  if (outcome.outcome === 'refused') return outcome;
  const { state, late: wasLate, replayed } = outcome;
  return { outcome: 'settled', state, late: wasLate, replayed };
}

function wordsFor(answer: Answer): string {
  if ('refused' in answer) return answer.refused;
  return `${answer.state}${answer.late ? ', late' : ''}${answer.replayed ? ', replayed' : ''}`;
}
