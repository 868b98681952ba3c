import type { Violation } from '../invariant.ts';
import type { Call, Ledger, Readiness } from '../ledger.ts';

/** A broker may learn that nothing goes any more by refusing the first calls; after that it has so long to say so. */
const MAY_MISTAKE_MS = 1500;
/** Fewer refusals prove nothing. */
const REFUSALS = 3;
const WRITES = new Set(['enqueue', 'settle', 'cancel']);

/** A broker does not go on saying that it is ready while it refuses every write. */
export function* readiness({ calls, readiness: said }: Ledger): Iterable<Violation> {
  for (const [via, answers] of said) {
    const writes = calls.filter((call) => call.via === via && WRITES.has(call.request.op) && Number.isFinite(call.to));
    for (const refusals of refusedInARow(writes)) {
      const from = refusals[0]?.to ?? 0;
      const to = refusals.at(-1)?.to ?? 0;
      for (const mistaken of readyInARow(answers.filter(({ askedAt, at }) => askedAt >= from && at <= to))) {
        // One answer may have come late; what counts is that it was still said.
        const [first, last] = [mistaken[0]?.askedAt ?? 0, mistaken.at(-1)?.askedAt ?? 0];
        const meanwhile = refusals.filter((call) => call.to >= first && call.to <= last).length;
        if (last - first <= MAY_MISTAKE_MS || meanwhile < REFUSALS) continue;
        const says = `${via} said for ${last - first} ms that it was ready and refused all ${meanwhile} writes meanwhile`;
        yield { task: null, at: first, says };
      }
    }
  }
}

/** Writes in the order of their ends that were all refused because of the store. A call without any reply proves neither. */
function refusedInARow(writes: readonly Call[]): Call[][] {
  const told = writes.filter(({ outcome, status }) => outcome !== 'unknown' || status !== null);
  told.sort((a, b) => a.to - b.to);
  return runsOf(told, ({ outcome, status }) => outcome === 'unknown' && status === 503);
}

function readyInARow(answers: readonly Readiness[]): Readiness[][] {
  return runsOf(answers, ({ ready }) => ready);
}

function runsOf<Item>(items: readonly Item[], belongs: (item: Item) => boolean): Item[][] {
  const runs: Item[][] = [];
  let open: Item[] | null = null;
  for (const item of items) {
    if (!belongs(item)) open = null;
    else if (open) open.push(item);
    else runs.push((open = [item]));
  }
  return runs;
}
