import type { Violation } from '../invariant.ts';
import type { FaultWindow, Ledger } from '../ledger.ts';

/** Tasks flow again this soon after a fault has healed. */
const RECOVERY_MS = 5000;
/** What a client may have to wait beyond what it asked for. */
const OUTLIVES_MS = 1000;

/** After a fault heals tasks flow again, and every call is answered in time unless a fault keeps its answer. */
export function* liveness({ calls, faults, served, drainedAt }: Ledger): Iterable<Violation> {
  for (const { fault, dose, to } of faults) {
    if (to === Number.POSITIVE_INFINITY) {
      yield { task: null, at: 0, says: `fault ${fault} ${dose} was never healed` };
      continue;
    }
    const next = served.find((at) => at >= to);
    const idle = drainedAt !== null && drainedAt < to + RECOVERY_MS;
    if (next === undefined ? !idle : next > to + RECOVERY_MS) {
      const says = next === undefined ? 'nothing was granted' : `the first grant came ${next - to} ms`;
      yield { task: null, at: to, says: `${says} after ${fault} ${dose} had healed` };
    }
  }
  const silent = faults.filter(({ silences }) => silences);
  for (const { name, from, to, outcome, status, why, deadlineMs, p } of calls) {
    if (to === Number.POSITIVE_INFINITY) continue;
    const flaw = outcome === 'unknown' && faults.find((fault) => fault.flawless && fault.from < to && fault.to > from);
    if (flaw) {
      yield {
        task: null,
        at: from,
        says: `call ${name} of ${p} failed (${status ?? 'no reply'}, ${why}) during ${flaw.fault} ${flaw.dose}`,
      };
    }
    const unanswered = outcome === 'unknown' && status === null && why === 'timeout';
    const outlived = to - from > deadlineMs + OUTLIVES_MS;
    if ((unanswered || outlived) && !isExcused(silent, from, to)) {
      yield {
        task: null,
        at: from,
        says: `call ${name} of ${p} was not answered within ${deadlineMs} ms, and no fault kept the answer`,
      };
    }
  }
}

function isExcused(silent: readonly FaultWindow[], from: number, to: number): boolean {
  return silent.some((fault) => fault.from < to && fault.to > from);
}
