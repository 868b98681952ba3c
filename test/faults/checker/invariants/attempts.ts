import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted, mayHaveTakenEffect, settlesOf } from '../lease-ends.ts';
import type { Call, Grant, Ledger, TaskStory } from '../ledger.ts';

/** Each lease that counts is one attempt, there are never more than were posted, and a task dies when they are used up. */
export function* attempts({ tasks, posts, calls }: Ledger): Iterable<Violation> {
  const shortest = shortestLease(calls);
  for (const story of tasks.values()) {
    yield* allowed(story, posts.get(story.mark)?.posted.maxAttempts);
    yield* tooMany(story);
    yield* steps(story);
    yield* inTheEnd(story, shortest);
    yield* death(story);
  }
}

function* allowed({ id, grants, found }: TaskStory, posted: number | undefined): Iterable<Violation> {
  if (posted === undefined) return;
  const told = [
    ...grants.map(({ grantedAt: at, maxAttempts }) => ({ at, maxAttempts })),
    ...(found === null ? [] : [{ at: found.finishedAt ?? 0, maxAttempts: found.maxAttempts }]),
  ];
  const wrong = told.find(({ maxAttempts }) => maxAttempts !== posted);
  if (wrong)
    yield { task: id, at: wrong.at, says: `may be tried ${wrong.maxAttempts} times, and was posted with ${posted}` };
}

function* tooMany({ id, grants }: TaskStory): Iterable<Violation> {
  for (const { attempt, maxAttempts, fence, grantedAt: at } of grants) {
    if (attempt > maxAttempts) yield { task: id, at, says: `grant ${fence} is attempt ${attempt} of ${maxAttempts}` };
    if (attempt < 1 || attempt > fence) yield { task: id, at, says: `grant ${fence} counts as attempt ${attempt}` };
  }
}

/** How many attempts a grant has used up in the end: a released one none. */
function counted(story: TaskStory, grant: Grant): { least: number; most: number } {
  const releases = settlesOf(story, grant).filter(
    (settle) => settle.verb.verb === 'release' && mayHaveTakenEffect(settle),
  );
  if (releases.some(accepted)) return { least: 0, most: 0 };
  return { least: releases.length > 0 ? 0 : 1, most: 1 };
}

/** How many attempts are used up when `fence` grants have been made, as far as the last one before that tells. */
function usedUp(story: TaskStory, last: Grant | undefined, fence: number): { from: number; to: number } {
  if (!last) return { from: 0, to: fence };
  const { least, most } = counted(story, last);
  // Grants that nobody knows of were given back, and do not count, or ran out, and do.
  return { from: last.attempt - 1 + least, to: last.attempt - 1 + most + Math.max(0, fence - last.fence) };
}

function* steps(story: TaskStory): Iterable<Violation> {
  for (const [index, next] of story.grants.entries()) {
    const before = story.grants[index - 1];
    if (!before) continue;
    const used = usedUp(story, before, next.fence - 1);
    const [from, to] = [used.from + 1, used.to + 1];
    if (next.attempt >= from && next.attempt <= to) continue;
    const says = `grant ${next.fence} is attempt ${next.attempt} where it should be ${from === to ? from : `${from} to ${to}`}`;
    yield { task: story.id, at: next.grantedAt, says };
  }
}

function* inTheEnd(story: TaskStory, shortestLeaseMs: number): Iterable<Violation> {
  const { id, found, grants } = story;
  if (found === null) return;
  const at = found.finishedAt ?? 0;
  const last = grants.at(-1);
  if (found.deliveries < (last?.fence ?? 0)) yield { task: id, at, says: 'has been granted more often than it says' };
  const { from, to } = usedUp(story, last, found.deliveries);
  if (found.attempt < from || found.attempt > to) {
    const says = `has used ${found.attempt} attempts in the end where it should be ${from === to ? from : `${from} to ${to}`}`;
    yield { task: id, at, says };
  }
  // Only who was told of a grant can end it before it runs out; a cancellation by force ends one.
  const known = grants.filter((grant) => counted(story, grant).most > 0).length;
  const ranOut = found.attempt - known - (found.state === 'cancelled' ? 1 : 0);
  const lived = (found.finishedAt ?? Number.POSITIVE_INFINITY) - found.createdAt;
  if (ranOut > 0 && lived + CLOCK_GRAIN_MS < ranOut * shortestLeaseMs) {
    yield {
      task: id,
      at,
      says: `lived for ${lived} ms, in which ${ranOut} leases that nobody knows of cannot have run out`,
    };
  }
}

function* death(story: TaskStory): Iterable<Violation> {
  const { id, found, settles, grants } = story;
  if (found === null) return;
  const at = found.finishedAt ?? 0;
  if (found.attempt > found.maxAttempts)
    yield { task: id, at, says: `used ${found.attempt} attempts of ${found.maxAttempts}` };
  if (found.state !== 'dead' || found.attempt === found.maxAttempts) return;
  // One that took effect and is sent again is told so: it is never refused.
  const gaveUp = settles.some((settle) => {
    const latest = grants.some(({ token, fence }) => token === settle.verb.token && fence === found.deliveries);
    return settle.verb.retryable === false && latest && (settle.result === null || accepted(settle));
  });
  if (!gaveUp)
    yield {
      task: id,
      at,
      says: `is dead after ${found.attempt} attempts of ${found.maxAttempts}, and no worker gave it up`,
    };
}

function shortestLease(calls: readonly Call[]): number {
  return calls.reduce((least, { request }) => {
    if (request.op === 'lease') return Math.min(least, request.leaseMs);
    return request.op === 'settle' && request.next ? Math.min(least, request.next.leaseMs) : least;
  }, Number.POSITIVE_INFINITY);
}
