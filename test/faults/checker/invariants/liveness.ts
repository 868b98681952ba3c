import { isDisturbed, ranFor, RECOVERY_MS, silences } from '../calm.ts';
import type { Violation } from '../invariant.ts';
import type { Call, FaultWindow, Ledger } from '../ledger.ts';
import { type Wait, waitsOf } from '../waits.ts';

/** What a client may have to wait beyond what it asked for. */
const OUTLIVES_MS = 1000;
/** Where the machine stands still for so long a broker cannot know that it was not its store, and may answer 503. */
const MAY_FAIL_MS = 1000;
/** Why a verb or a cancellation may be refused for good. A post or a lease may not. A task that is not found is a loss. */
const REFUSALS = new Set(['lease_lost', 'already_settled', 'task_cancelled', 'task_not_found']);
const BROKEN_BROKER = 500;

/** After a fault heals tasks flow again, and every call is done, and answered in time, unless a fault keeps it from that. */
export function* liveness(ledger: Ledger): Iterable<Violation> {
  yield* flow(ledger);
  yield* unanswered(ledger);
  yield* refused(ledger.calls);
  yield* unhealed(ledger);
}

function* flow(ledger: Ledger): Iterable<Violation> {
  const { faults, stalls, served, drainedAt } = ledger;
  const waits = [...waitsOf(ledger)].filter(({ due, to }) => to - due > RECOVERY_MS);
  for (const fault of faults) {
    const { to, mendedAt } = fault;
    const name = `${fault.fault} ${fault.dose}`;
    if (to === Number.POSITIVE_INFINITY) {
      yield { task: null, at: 0, says: `fault ${name} was never healed` };
      continue;
    }
    const next = served.find((at) => at >= mendedAt);
    const idle = drainedAt !== null && drainedAt < mendedAt + RECOVERY_MS;
    if (next === undefined ? !idle : ranFor(stalls, mendedAt, next) > RECOVERY_MS) {
      const says = next === undefined ? 'nothing was granted' : `the first grant came ${next - mendedAt} ms`;
      yield { task: null, at: mendedAt, says: `${says} after ${name} had healed` };
    }
    yield* still(ledger, fault, waits);
  }
}

/** Queues from which nothing was granted after a fault had healed, though a task waited in them all the time. */
function* still(
  { faults, stalls, tasks, posts }: Ledger,
  fault: FaultWindow,
  waits: readonly Wait[],
): Iterable<Violation> {
  const [from, to] = [fault.mendedAt, fault.mendedAt + RECOVERY_MS];
  if (isDisturbed([...faults.filter((other) => other !== fault), ...stalls], from, to)) return;
  for (const [queue, [first]] of Map.groupBy(
    waits.filter((wait) => wait.due <= from && wait.to > to),
    (wait) => wait.queue,
  )) {
    const moves = [...tasks.values()].some(({ mark, grants }) => {
      return (
        posts.get(mark)?.posted.queue === queue && grants.some(({ grantedAt }) => grantedAt >= from && grantedAt <= to)
      );
    });
    if (moves || !first) continue;
    const says = `waited in queue ${queue}, of which nothing was granted within ${RECOVERY_MS} ms after ${fault.fault} ${fault.dose} had healed`;
    yield { task: first.story.id, at: from, says };
  }
}

function* unanswered({ calls, faults, stalls }: Ledger): Iterable<Violation> {
  for (const call of calls) {
    const { name, from, to, outcome, status, why, deadlineMs, p } = call;
    if (to === Number.POSITIVE_INFINITY) continue;
    const meanwhile = faults.filter((fault) => fault.from < to && fault.to > from);
    const stalled = to - from - ranFor(stalls, from, to);
    const flaw = outcome === 'unknown' && stalled < MAY_FAIL_MS && meanwhile.find(({ flawless }) => flawless);
    if (flaw) {
      yield {
        task: null,
        at: from,
        says: `call ${name} of ${p} failed (${status ?? 'no reply'}, ${why}) during ${flaw.fault} ${flaw.dose}`,
      };
    }
    const excused = stalled > 0 && to - from - stalled <= deadlineMs;
    const silence = outcome === 'unknown' && status === null && why === 'timeout' && !excused;
    const outlived = to - from - stalled > deadlineMs + OUTLIVES_MS;
    if ((silence || outlived) && !meanwhile.some((fault) => silences(fault, call))) {
      yield {
        task: null,
        at: from,
        says: `call ${name} of ${p} was not answered within ${deadlineMs} ms, and no fault kept the answer`,
      };
    }
  }
}

/** The load asks for nothing that is not right: what it posts and leases is never refused, and no broker fails by itself. */
function* refused(calls: readonly Call[]): Iterable<Violation> {
  for (const { name, p, from: at, request, reply, outcome, status, why } of calls) {
    const says = (code: string | null): string =>
      `the ${request.op} ${name} of ${p} was answered ${status ?? ''} ${code}`;
    const mayBe = (code: string | null): boolean =>
      (request.op === 'settle' || request.op === 'cancel') && code !== null && REFUSALS.has(code);
    if (status === BROKEN_BROKER || (outcome === 'failed' && !mayBe(why))) yield { task: null, at, says: says(why) };
    if (reply?.op !== 'settle') continue;
    const wrong = reply.results.find((result) => {
      return result.status === BROKEN_BROKER || (result.status >= 400 && result.status < 500 && !mayBe(result.code));
    });
    if (wrong) yield { task: null, at, says: says(`${wrong.status} ${wrong.code}`) };
  }
}

/** Calls that were repeated for longer than a recovery takes, and were not done, while nothing was broken. */
function* unhealed({ calls, faults, stalls }: Ledger): Iterable<Violation> {
  const begun = new Map(calls.map(({ name, from }) => [name, from]));
  for (const { name, p, from, to, again, outcome, status, why } of calls) {
    if (outcome !== 'unknown' || again === null || to === Number.POSITIVE_INFINITY) continue;
    const before = faults.filter((fault) => fault.from <= from);
    const since = Math.max(begun.get(again) ?? from, ...before.map(({ mendedAt }) => mendedAt));
    if (
      from < since ||
      ranFor(stalls, since, to) <= RECOVERY_MS ||
      faults.some((fault) => fault.from > from && fault.from < to)
    )
      continue;
    const says = `call ${name} of ${p} was not done (${status ?? 'no reply'}, ${why}), ${to - since} ms after all had healed`;
    yield { task: null, at: from, says };
  }
}
