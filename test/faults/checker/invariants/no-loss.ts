import type { Violation } from '../invariant.ts';
import { accepted, mayHaveTakenEffect } from '../lease-ends.ts';
import type { Ledger, Post, TaskStory } from '../ledger.ts';

const ENDS = new Set(['completed', 'dead', 'cancelled', 'expired']);

/** Every task with a 2xx has ended, for a reason that somebody gave, and what was acknowledged is completed. */
export function* noLoss(ledger: Ledger): Iterable<Violation> {
  for (const story of ledger.tasks.values()) {
    const says = lossOf(story, ledger.posts.get(story.mark));
    const at = story.stored[0]?.to ?? story.grants[0]?.call.to ?? 0;
    if (says !== null) yield { task: story.id, at, says };
  }
  if (ledger.drainedAt === null)
    yield { task: null, at: 0, says: 'the drain did not end: tasks were left waiting or running' };
}

function lossOf(story: TaskStory, post: Post | undefined): string | null {
  const { found, stored, settles, cancels, grants } = story;
  const missed = settles.find(({ result }) => result?.code === 'task_not_found');
  if (missed) return `a worker that held the task was told that it does not exist (${missed.call.name})`;
  if (found === null) {
    return stored.length > 0 || grants.length > 0 ? 'was answered with a 2xx and is nowhere to be found' : null;
  }
  if (!ENDS.has(found.state)) return `was left ${found.state} after the drain`;
  const acks = settles.filter(({ verb }) => verb.verb === 'ack');
  const acknowledged = acks.find(accepted);
  if (acknowledged && found.state !== 'completed') {
    return `was acknowledged (${acknowledged.call.name}) and is ${found.state} in the end`;
  }
  switch (found.state) {
    case 'completed':
      return acks.some(mayHaveTakenEffect) ? null : 'is completed, and nobody acknowledged it';
    case 'cancelled':
      return cancels.some(({ outcome }) => outcome !== 'failed') ? null : 'is cancelled, and nobody asked for that';
    case 'expired':
      return !post || post.posted.ttlMs !== null ? null : 'has expired, and has no ttl';
    default:
      return null;
  }
}
