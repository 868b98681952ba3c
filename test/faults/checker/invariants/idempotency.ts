import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted } from '../lease-ends.ts';
import type { Ledger, TaskStory } from '../ledger.ts';

/** One task per idempotency key, however often it was posted, and one at a time per unique key. */
export function* idempotency({ tasks, posts }: Ledger): Iterable<Violation> {
  const byMark = Map.groupBy(tasks.values(), ({ mark }) => mark);
  for (const [mark, { ids, calls }] of posts) {
    const all = new Set([...ids, ...(byMark.get(mark) ?? []).map(({ id }) => id)]);
    if (all.size > 1) {
      yield {
        task: [...all].at(-1) ?? null,
        at: calls.at(-1)?.to ?? 0,
        says: `the key ${mark} made ${all.size} tasks: ${[...all].join(', ')}`,
      };
    }
  }
  const keyed = Map.groupBy(tasks.values(), ({ mark }) => posts.get(mark)?.posted.unique ?? null);
  keyed.delete(null);
  for (const [key, holders] of keyed) yield* heldTwice(key ?? '', holders);
}

function* heldTwice(key: string, holders: readonly TaskStory[]): Iterable<Violation> {
  const spans = holders.flatMap(({ id, found, settles }) => {
    // One that was acknowledged after it had died had let go of its key when it died.
    const late = settles.some((settle) => settle.result === null || (accepted(settle) && settle.result.late));
    return found === null || late
      ? []
      : [{ id, from: found.createdAt, to: found.finishedAt ?? Number.POSITIVE_INFINITY }];
  });
  spans.sort((a, b) => a.from - b.from);
  for (const [index, next] of spans.entries()) {
    const before = spans[index - 1];
    if (before && next.from + CLOCK_GRAIN_MS < before.to) {
      yield { task: next.id, at: next.from, says: `was made while ${before.id} held the unique key ${key}` };
    }
  }
}
