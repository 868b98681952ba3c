import { accepted, deadlineOf, settlesOf } from './lease-ends.ts';
import type { Grant, Ledger, TaskStory } from './ledger.ts';

/** A time in which a task was to be had and nobody had it. */
export interface Wait {
  story: TaskStory;
  queue: string;
  /** Null where nothing but its queue may hold it back. */
  groupKey: string | null;
  /** From when on at the latest. */
  due: number;
  /** When it was granted. */
  to: number;
}

/** Every wait that is known for certain: those before grants of which it is known what came before. */
export function* waitsOf({ tasks, posts }: Ledger): Iterable<Wait> {
  for (const story of tasks.values()) {
    const posted = posts.get(story.mark)?.posted;
    if (!posted) continue;
    const { queue, groupKey } = posted;
    for (const [index, { fence, grantedAt: to, createdAt }] of story.grants.entries()) {
      const before = story.grants[index - 1];
      if (fence !== (before?.fence ?? 0) + 1) continue;
      const due = before ? dueAfter(story, before) : createdAt + posted.delayMs;
      if (due !== null) yield { story, queue, groupKey, due, to };
    }
  }
}

/** When a task was due again after a grant; null where what ended that is not known. */
function dueAfter(story: TaskStory, grant: Grant): number | null {
  let deadline = deadlineOf(story, grant);
  for (const settle of settlesOf(story, grant)) {
    const { verb, call, result } = settle;
    if (verb.verb === 'heartbeat') {
      if (result === null) deadline = Math.max(deadline, call.to + (verb.leaseMs ?? grant.leaseMs));
      continue;
    }
    if (!accepted(settle) || result === null) return null;
    if (verb.verb === 'ack') return null;
    return verb.verb === 'nack' ? result.runAt : call.to + (verb.delayMs ?? 0);
  }
  return Number.isFinite(deadline) ? deadline : null;
}
