import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted, mayHaveTakenEffect } from '../lease-ends.ts';
import type { Call, Ledger, Post, TaskStory } from '../ledger.ts';

const ENDS = new Set(['completed', 'dead', 'cancelled', 'expired']);

/**
 * Every task with a 2xx has ended, for a reason that somebody gave; what was acknowledged is completed, and what a caller was told to have
 * ended is as that caller was told.
 */
export function* noLoss(ledger: Ledger): Iterable<Violation> {
  for (const story of ledger.tasks.values()) {
    const says = lossOf(story, ledger.posts.get(story.mark));
    const at = story.stored[0]?.to ?? story.grants[0]?.call.to ?? 0;
    if (says !== null) yield { task: story.id, at, says };
    yield* endsTakenBack(story);
  }
  yield* notTold(ledger.calls);
  if (ledger.drainedAt === null)
    yield { task: null, at: 0, says: 'the drain did not end: tasks were left waiting or running' };
}

/** An end that was told is the end: but for one, that a worker who is late may turn the death of its task into completion. */
function* endsTakenBack(story: TaskStory): Iterable<Violation> {
  const { id, found, grants } = story;
  for (const { call, state, mayBeCompleted } of endsTold(story)) {
    const after = grants.find(({ grantedAt }) => grantedAt > call.to + CLOCK_GRAIN_MS);
    if (after)
      yield {
        task: id,
        at: after.grantedAt,
        says: `was granted (${after.fence}) after ${call.name} was told that it is ${state}`,
      };
    if (found === null || found.state === state || (mayBeCompleted && found.state === 'completed')) continue;
    yield {
      task: id,
      at: call.to,
      says: `is ${found.state} in the end, and ${call.name} was told that it is ${state}`,
    };
  }
}

function* endsTold({ settles, cancels }: TaskStory): Iterable<{ call: Call; state: string; mayBeCompleted: boolean }> {
  for (const settle of settles) {
    const { verb, call, result } = settle;
    // What becomes of an ack is told of above.
    if (!accepted(settle) || verb.verb === 'ack' || !result?.state || !ENDS.has(result.state)) continue;
    const mayBeCompleted =
      result.late && settles.some((other) => other.verb.verb === 'ack' && other.verb.token === verb.token);
    yield { call, state: result.state, mayBeCompleted };
  }
  for (const call of cancels) {
    if (call.reply?.op === 'cancel' && call.reply.state === 'cancelled')
      yield { call, state: 'cancelled', mayBeCompleted: false };
  }
}

/** A call that was answered with less than it asked for leaves its caller in the belief that the rest is done. */
function* notTold(calls: readonly Call[]): Iterable<Violation> {
  for (const { name, to: at, request, reply } of calls) {
    if (request.op === 'enqueue' && reply?.op === 'enqueue') {
      const told = new Set(reply.tasks.filter(({ task }) => task).map(({ mark }) => mark));
      const missing = request.tasks.filter(({ mark }) => !told.has(mark));
      if (missing.length === 0 && reply.tasks.length === request.tasks.length) continue;
      const says = `${name} posted ${request.tasks.length} tasks and was answered with ${reply.tasks.length}, without ${missing.map(({ mark }) => mark).join(', ')}`;
      yield { task: null, at, says };
    }
    if (request.op === 'settle' && reply?.op === 'settle' && reply.results.length !== request.items.length)
      yield {
        task: null,
        at,
        says: `${name} settled ${request.items.length} tasks and was told of ${reply.results.length}`,
      };
  }
}

function lossOf(story: TaskStory, post: Post | undefined): string | null {
  const { found, stored, settles, cancels, grants } = story;
  const missed = settles.find(({ result }) => result?.code === 'task_not_found');
  if (missed) return `a worker that held the task was told that it does not exist (${missed.call.name})`;
  const unfound = cancels.find(({ why }) => why === 'task_not_found');
  if (unfound) return `its producer was told that it does not exist (${unfound.name})`;
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
