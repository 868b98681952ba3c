import type { Violation } from '../invariant.ts';
import { causeOf, type Cause, deadlineOf } from '../lease-ends.ts';
import type { Grant, Ledger, TaskStory } from '../ledger.ts';

export interface Repeat {
  story: TaskStory;
  before: Grant;
  next: Grant;
  /** Null when nothing justified it. */
  cause: Cause | null;
}

/** Every grant of a task that had been granted before, as far as both are known. */
export function* repeatsOf({ tasks }: Ledger): Iterable<Repeat> {
  for (const story of tasks.values()) {
    for (const [index, next] of story.grants.entries()) {
      const before = story.grants[index - 1];
      if (before) yield { story, before, next, cause: causeOf(story, before, next) };
    }
  }
}

/** A task is granted again only after its lease ran out by the store's clock, or was nacked or released. */
export function* justifiedRepeats(ledger: Ledger): Iterable<Violation> {
  for (const { story, before, next, cause } of repeatsOf(ledger)) {
    if (cause !== null) continue;
    const early = deadlineOf(story, before) - next.grantedAt;
    const says = `grant ${next.fence} came ${early} ms before the lease of grant ${before.fence} ran out, and nobody had nacked or released it`;
    yield { task: story.id, at: next.grantedAt, says };
  }
}
