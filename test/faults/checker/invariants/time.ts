import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import type { Posted } from '../../history/event.ts';
import { accepted, settlesOf } from '../lease-ends.ts';
import { ranFor, RECOVERY_MS } from '../calm.ts';
import type { Ledger, Post, TaskStory } from '../ledger.ts';
import { overdue } from './overdue.ts';

/** How late what is due may be while nothing is broken: the reaper looks at a shared store once a second at the least. */
const SWEEP_MS = 2000;

/**
 * Nothing runs before its time or after its ttl. While nothing is broken, what waits past its ttl expires in time, and what has long been
 * due is not passed over.
 */
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
    yield* otherTtl(story, posted);
    yield* early(story);
    const late = lateBy(story, ledger);
    if (late !== null)
      yield {
        task: story.id,
        at: story.found?.finishedAt ?? 0,
        says: `expired ${late} ms after its ttl while nothing was broken`,
      };
  }
  yield* overdue(ledger);
}

/** The store's clock is that of the machine, which all processes of a run share: nothing is made or granted in the past or the future. */
function* wrongClock({ id, stored, grants, found }: TaskStory, post: Post | undefined): Iterable<Violation> {
  for (const { grantedAt, fence, call } of grants) {
    if (grantedAt > call.to + CLOCK_GRAIN_MS) {
      yield { task: id, at: call.to, says: `grant ${fence} was made ${grantedAt - call.to} ms after it was told of` };
    }
  }
  const [first] = post?.calls ?? [];
  const createdAt = found?.createdAt ?? grants[0]?.createdAt;
  const toldAt = Math.min(...stored.map(({ to }) => to), ...grants.map(({ call }) => call.to));
  if (createdAt !== undefined && createdAt > toldAt + CLOCK_GRAIN_MS) {
    yield { task: id, at: toldAt, says: `was made ${createdAt - toldAt} ms after it was told of` };
  }
  if (first === undefined || createdAt === undefined) return;
  if (createdAt + CLOCK_GRAIN_MS < first.from) {
    yield { task: id, at: first.from, says: `was made ${first.from - createdAt} ms before it was posted` };
  }
}

/** A task lives for as long as was posted. */
function* otherTtl({ id, grants, found }: TaskStory, posted: Posted | undefined): Iterable<Violation> {
  if (posted === undefined) return;
  const { ttlMs } = posted;
  const told = [
    ...grants.map(({ grantedAt: at, createdAt, expiresAt }) => ({ at, createdAt, expiresAt })),
    ...(found === null ? [] : [{ at: found.finishedAt ?? 0, createdAt: found.createdAt, expiresAt: found.expiresAt }]),
  ];
  for (const { at, createdAt, expiresAt } of told) {
    const lives = expiresAt === null ? null : expiresAt - createdAt;
    const same = ttlMs === null || lives === null ? ttlMs === lives : Math.abs(ttlMs - lives) <= CLOCK_GRAIN_MS;
    if (same) continue;
    yield { task: id, at, says: `has a ttl of ${lives ?? 'no'} ms, and was posted with ${ttlMs ?? 'no'} ms` };
    return;
  }
  if (found?.state !== 'expired' || found.expiresAt === null || found.finishedAt === null) return;
  const early = found.expiresAt - found.finishedAt;
  if (early > CLOCK_GRAIN_MS)
    yield { task: id, at: found.finishedAt, says: `has expired ${early} ms before its ttl was over` };
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
function lateBy({ found, grants }: TaskStory, { faults, stalls }: Ledger): number | null {
  if (found?.state !== 'expired' || found.deliveries > 0 || grants.length > 0) return null;
  const { expiresAt, finishedAt } = found;
  if (expiresAt === null || finishedAt === null || ranFor(stalls, expiresAt, finishedAt) <= SWEEP_MS) return null;
  const excused = faults.some(({ from, to }) => from < finishedAt && to + RECOVERY_MS > expiresAt);
  return excused ? null : finishedAt - expiresAt;
}
