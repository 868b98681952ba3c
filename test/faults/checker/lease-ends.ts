import { CLOCK_GRAIN_MS } from './invariant.ts';
import type { Grant, Settle, TaskStory } from './ledger.ts';

/** Whether a verb took effect for certain. */
export function accepted({ result }: Settle): boolean {
  return result !== null && result.status === 200;
}

/** Whether it did, or may have. */
export function mayHaveTakenEffect(settle: Settle): boolean {
  return settle.result === null || settle.result.status === 200 || mayHaveGivenBack(settle);
}

/**
 * Whether a nack or release was refused only because the task was granted anew, which it may have brought about itself: a broker that
 * lost the reply of its store asks again, and learns no more than that the token is not the latest any longer.
 */
export function mayHaveGivenBack({ verb, result }: Settle): boolean {
  return (verb.verb === 'nack' || verb.verb === 'release') && result?.code === 'lease_lost';
}

export function settlesOf(story: TaskStory, { token }: Grant): Settle[] {
  return story.settles.filter(({ verb }) => verb.token === token);
}

/** When the lease runs out at the earliest: heartbeats that are known to have been accepted count. */
export function deadlineOf(story: TaskStory, grant: Grant): number {
  const beats = settlesOf(story, grant).flatMap(({ result }) => (result?.deadline ? [result.deadline] : []));
  return Math.max(grant.deadline, ...beats);
}

/** When a verb or a cancellation may have ended the lease, at the earliest; infinity when none was tried. */
export function earliestEnd(story: TaskStory, grant: Grant): number {
  const verbs = settlesOf(story, grant).filter(
    (settle) => settle.verb.verb !== 'heartbeat' && mayHaveTakenEffect(settle),
  );
  const cancels = story.cancels.filter(({ request, outcome }) => {
    return request.op === 'cancel' && request.force && outcome !== 'failed';
  });
  const starts = [
    ...verbs.map(({ call }) => call.from),
    ...cancels.filter(({ to }) => to >= grant.grantedAt).map(({ from }) => from),
  ];
  return Math.min(Number.POSITIVE_INFINITY, ...starts);
}

/** Until when the lease was held for certain, unless it was lost before its time. */
export function heldUntil(story: TaskStory, grant: Grant): number {
  return Math.min(deadlineOf(story, grant), earliestEnd(story, grant));
}

export type Cause = 'expired' | 'nacked' | 'released';

/** What allowed the task to be granted again after `before`; null when nothing did. */
export function causeOf(story: TaskStory, before: Grant, next: Grant): Cause | null {
  const tried = settlesOf(story, before).filter((settle) => {
    return mayHaveTakenEffect(settle) && settle.call.from <= next.grantedAt + CLOCK_GRAIN_MS;
  });
  if (tried.some(({ verb }) => verb.verb === 'nack')) return 'nacked';
  if (tried.some(({ verb }) => verb.verb === 'release')) return 'released';
  return deadlineOf(story, before) <= next.grantedAt ? 'expired' : null;
}
