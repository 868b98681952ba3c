import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted, settlesOf } from '../lease-ends.ts';
import type { FaultWindow, Ledger, Post, TaskStory } from '../ledger.ts';

/** How late what is due may be while nothing is broken: the reaper looks at a shared store once a second at the least. */
const SWEEP_MS = 2000;
/** After a fault has healed, brokers connect again and sweep. */
const RECOVERY_MS = 5000;

/** Nothing runs before its time or after its ttl, and while nothing is broken what is due is done. */
export function* time(ledger: Ledger): Iterable<Violation> {
  for (const story of ledger.tasks.values()) {
    const posted = ledger.posts.get(story.mark)?.posted;
    const [first] = story.grants;
    if (first && posted && first.fence === 1 && first.grantedAt < first.createdAt + posted.delayMs) {
      yield {
        task: story.id,
        at: first.grantedAt,
        says: `was granted ${first.grantedAt - first.createdAt} ms after it was made, and has a delay of ${posted.delayMs}`,
      };
    }
    for (const { grantedAt, expiresAt, fence } of story.grants) {
      if (expiresAt !== null && grantedAt >= expiresAt)
        yield { task: story.id, at: grantedAt, says: `grant ${fence} came after its ttl` };
    }
    yield* wrongClock(story, ledger.posts.get(story.mark));
    yield* early(story);
    const late = lateBy(story, ledger.faults);
    if (late !== null)
      yield {
        task: story.id,
        at: story.found?.finishedAt ?? 0,
        says: `expired ${late} ms after its ttl while nothing was broken`,
      };
  }
}

/** The store's clock is that of the machine, which all processes of a run share: nothing is made or granted in the past or the future. */
function* wrongClock({ id, grants, found }: TaskStory, post: Post | undefined): Iterable<Violation> {
  for (const { grantedAt, fence, call } of grants) {
    if (grantedAt > call.to + CLOCK_GRAIN_MS) {
      yield { task: id, at: call.to, says: `grant ${fence} was made ${grantedAt - call.to} ms after it was told of` };
    }
  }
  const [first] = post?.calls ?? [];
  const createdAt = found?.createdAt ?? grants[0]?.createdAt;
  if (first === undefined || createdAt === undefined) return;
  if (createdAt + CLOCK_GRAIN_MS < first.from) {
    yield { task: id, at: first.from, says: `was made ${first.from - createdAt} ms before it was posted` };
  }
}

/** Granted again before the wait that its worker was promised was over. */
function* early(story: TaskStory): Iterable<Violation> {
  for (const [index, grant] of story.grants.entries()) {
    const next = story.grants[index + 1];
    if (!next) continue;
    for (const settle of settlesOf(story, grant)) {
      const { verb, call, result } = settle;
      if (!accepted(settle) || result === null || result.late || result.state !== 'scheduled') continue;
      const released =
        verb.verb === 'release' && !result.replayed ? call.from + (verb.delayMs ?? 0) - CLOCK_GRAIN_MS : null;
      const due = verb.verb === 'nack' ? result.runAt : released;
      if (due !== null && next.grantedAt < due) {
        yield {
          task: story.id,
          at: next.grantedAt,
          says: `grant ${next.fence} came ${due - next.grantedAt} ms before it was due (${verb.verb} ${call.name})`,
        };
      }
    }
  }
}

/** Of a task that waited past its ttl: how much too late that was noticed, when no fault excuses it. */
function lateBy({ found, grants }: TaskStory, faults: readonly FaultWindow[]): number | null {
  if (found?.state !== 'expired' || found.deliveries > 0 || grants.length > 0) return null;
  const { expiresAt, finishedAt } = found;
  if (expiresAt === null || finishedAt === null || finishedAt - expiresAt <= SWEEP_MS) return null;
  const excused = faults.some(({ from, to }) => from < finishedAt && to + RECOVERY_MS > expiresAt);
  return excused ? null : finishedAt - expiresAt;
}
