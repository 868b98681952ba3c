import type { Violation } from '../invariant.ts';
import { accepted, mayHaveTakenEffect, settlesOf } from '../lease-ends.ts';
import type { Grant, Ledger, TaskStory } from '../ledger.ts';

/** Each lease that counts is one attempt, there are never more than allowed, and a task dies when they are used up. */
export function* attempts({ tasks }: Ledger): Iterable<Violation> {
  for (const story of tasks.values()) {
    yield* tooMany(story);
    yield* steps(story);
    yield* death(story);
  }
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

function* steps(story: TaskStory): Iterable<Violation> {
  for (const [index, next] of story.grants.entries()) {
    const before = story.grants[index - 1];
    if (!before) continue;
    const { least, most } = counted(story, before);
    // Grants that nobody knows of were given back, and do not count, or ran out, and do.
    const unknown = next.fence - before.fence - 1;
    const from = before.attempt + least;
    const to = before.attempt + most + unknown;
    if (next.attempt >= from && next.attempt <= to) continue;
    const says = `grant ${next.fence} is attempt ${next.attempt} where it should be ${from === to ? from : `${from} to ${to}`}`;
    yield { task: story.id, at: next.grantedAt, says };
  }
}

function* death(story: TaskStory): Iterable<Violation> {
  const { id, found, settles } = story;
  if (found === null) return;
  const at = found.finishedAt ?? 0;
  if (found.attempt > found.maxAttempts)
    yield { task: id, at, says: `used ${found.attempt} attempts of ${found.maxAttempts}` };
  if (found.deliveries < (story.grants.at(-1)?.fence ?? 0))
    yield { task: id, at, says: 'has been granted more often than it says' };
  if (found.state !== 'dead' || found.attempt === found.maxAttempts) return;
  const gaveUp = settles.some((settle) => settle.verb.retryable === false && mayHaveTakenEffect(settle));
  if (!gaveUp)
    yield {
      task: id,
      at,
      says: `is dead after ${found.attempt} attempts of ${found.maxAttempts}, and no worker gave it up`,
    };
}
