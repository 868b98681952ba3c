import type { Logged } from '../history/event.ts';
import { INVARIANTS, type Invariant, type InvariantName, type Violation } from './invariant.ts';
import { attempts } from './invariants/attempts.ts';
import { conservation } from './invariants/conservation.ts';
import { exclusion } from './invariants/exclusion.ts';
import { fencing } from './invariants/fencing.ts';
import { idempotency } from './invariants/idempotency.ts';
import { justifiedRepeats } from './invariants/justified-repeats.ts';
import { liveness } from './invariants/liveness.ts';
import { noLoss } from './invariants/no-loss.ts';
import { noPhantom } from './invariants/no-phantom.ts';
import { readiness } from './invariants/readiness.ts';
import { time } from './invariants/time.ts';
import { type Ledger, toLedger } from './ledger.ts';
import { storyOf } from './story.ts';

const CHECKS: Record<InvariantName, Invariant> = {
  'no loss': noLoss,
  'no phantom': noPhantom,
  'justified repeats': justifiedRepeats,
  exclusion,
  fencing,
  attempts,
  conservation,
  time,
  idempotency,
  liveness,
  readiness,
};

export interface Verdict {
  ledger: Ledger;
  /** In the order of {@link INVARIANTS}, and of time within one. */
  violations: readonly (Violation & { invariant: InvariantName })[];
}

/** Judges a whole history by every invariant. */
export function judge(events: readonly Logged[]): Verdict {
  const ledger = toLedger(events);
  const violations = INVARIANTS.flatMap((invariant) => {
    const found = [...CHECKS[invariant](ledger)].sort((a, b) => a.at - b.at);
    return found.map((violation) => ({ ...violation, invariant }));
  });
  return { ledger, violations };
}

/** The account of a run that failed: how often each invariant was broken, and all about the first time. Empty for a good run. */
export function accountOf({ ledger, violations }: Verdict): string[] {
  const [first] = violations;
  if (!first) return [];
  const counts = INVARIANTS.flatMap((invariant) => {
    const count = violations.filter((violation) => violation.invariant === invariant).length;
    return count === 0 ? [] : [`${invariant}: ${count}`];
  });
  return [
    `Broken: ${counts.join(', ')}.`,
    `First, ${first.invariant}: ${first.task === null ? '' : `task ${first.task} `}${first.says}.`,
    ...(first.task === null ? [] : ['', ...storyOf(ledger, first.task)]),
  ];
}
