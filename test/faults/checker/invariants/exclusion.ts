import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted, heldUntil, settlesOf } from '../lease-ends.ts';
import { askedAs, type Grant, type Ledger, type TaskStory } from '../ledger.ts';

/**
 * Leases of one task never overlap by the store's clock, nor do those of tasks of one group, of which one runs at a time; and a lease is
 * told to one caller only.
 */
export function* exclusion({ tasks, posts }: Ledger): Iterable<Violation> {
  const groups = new Map<string, Held[]>();
  for (const story of tasks.values()) {
    const held = story.grants.map((grant) => ({
      story,
      from: grant.grantedAt,
      to: heldThrough(story, grant),
      fence: grant.fence,
    }));
    yield* overlaps(held, ({ fence }, next) => `grants ${fence} and ${next.fence} held it at the same time`);
    yield* aliveAfter(story);
    yield* toldToOthers(story);
    const posted = posts.get(story.mark)?.posted;
    if (!posted?.groupKey) continue;
    const group = `${posted.queue} ${posted.groupKey}`;
    groups.set(group, [...(groups.get(group) ?? []), ...held]);
  }
  for (const [group, held] of groups) {
    yield* overlaps(held, (before, next) => {
      return before.story === next.story
        ? null
        : `ran at the same time as ${before.story.id}, and both are of group ${group}`;
    });
  }
}

interface Held {
  story: TaskStory;
  from: number;
  to: number;
  fence: number;
}

/** Until when it was held without a break: a late heartbeat revives a lease that others may have run after. */
function heldThrough(story: TaskStory, grant: Grant): number {
  const until = heldUntil(story, grant);
  const revived = settlesOf(story, grant).some(
    (settle) => settle.verb.verb === 'heartbeat' && settle.result?.late === true,
  );
  return revived ? Math.min(until, grant.deadline) : until;
}

function* overlaps(held: readonly Held[], saying: (before: Held, next: Held) => string | null): Iterable<Violation> {
  let last: Held | null = null;
  for (const next of held.toSorted((a, b) => a.from - b.from)) {
    if (last !== null && next.from + CLOCK_GRAIN_MS < last.to) {
      const says = saying(last, next);
      if (says !== null) yield { task: next.story.id, at: next.from, says };
    }
    if (last === null || next.to > last.to) last = next;
  }
}

/** A repeated call, or one with the same request id, is answered with the lease that there is; no other call is. */
function* toldToOthers({ id, grants }: TaskStory): Iterable<Violation> {
  for (const { fence, tellers } of grants) {
    const [first] = tellers;
    const other = tellers.find((call) => first !== undefined && askedAs(call) !== askedAs(first));
    if (!first || !other) continue;
    yield { task: id, at: other.to, says: `grant ${fence} was told to two callers: ${first.name} and ${other.name}` };
  }
}

/** A heartbeat that was accepted, and not as a late one, says that the lease ran when it was sent. */
function* aliveAfter(story: TaskStory): Iterable<Violation> {
  for (const [index, grant] of story.grants.entries()) {
    const next = story.grants[index + 1];
    if (!next) continue;
    const alive = settlesOf(story, grant).find((settle) => {
      const beat = settle.verb.verb === 'heartbeat' && accepted(settle) && settle.result?.late === false;
      return beat && settle.call.from > next.grantedAt + CLOCK_GRAIN_MS;
    });
    if (alive === undefined) continue;
    const says = `grant ${grant.fence} was told that it holds the lease (${alive.call.name}) after grant ${next.fence} was made`;
    yield { task: story.id, at: alive.call.to, says };
  }
}
