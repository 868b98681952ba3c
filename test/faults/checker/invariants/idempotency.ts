import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted } from '../lease-ends.ts';
import type { Ledger, Post, TaskStory } from '../ledger.ts';

/**
 * One task per idempotency key, however often it was posted, and one at a time per unique key, which is what others that want the key are
 * answered with.
 */
export function* idempotency(ledger: Ledger): Iterable<Violation> {
  const { tasks, posts } = ledger;
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
  yield* swallowed(ledger);
  const keyed = Map.groupBy(tasks.values(), ({ mark }) => posts.get(mark)?.posted.unique ?? null);
  keyed.delete(null);
  for (const [key, holders] of keyed) yield* heldTwice(key ?? '', holders);
}

/** Posts that were answered with a task that is not theirs and did not hold their key: their work is done by nobody. */
function* swallowed({ calls, tasks, posts }: Ledger): Iterable<Violation> {
  for (const { to: at, reply } of calls) {
    if (reply?.op !== 'enqueue') continue;
    for (const { mark, task, deduplicated } of reply.tasks) {
      const post = posts.get(mark);
      const holder = tasks.get(task);
      if (!post || !holder) continue;
      const says = deduplicated ? whyNotTheHolder(post, holder, posts) : null;
      if (says !== null) yield { task, at, says: `was answered to the post of ${mark} and ${says}` };
      if (!deduplicated && holder.mark !== mark)
        yield { task, at, says: `was answered as new to the post of ${mark} and to that of ${holder.mark}` };
    }
  }
}

function whyNotTheHolder({ posted, calls }: Post, { mark, found }: TaskStory, posts: Ledger['posts']): string | null {
  const { unique, queue } = posted;
  if (unique === null) return 'that has no unique key';
  const own = posts.get(mark)?.posted;
  if (own && (own.unique !== unique || own.queue !== queue)) return `has not its unique key ${unique}`;
  // A repeated call is answered as the first one was, or would have been.
  const from = Math.min(...calls.map((call) => call.from));
  const finishedAt = found?.finishedAt ?? Number.POSITIVE_INFINITY;
  return finishedAt + CLOCK_GRAIN_MS < from
    ? `had let go of its unique key ${unique} ${from - finishedAt} ms before`
    : null;
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
