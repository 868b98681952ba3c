import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import { accepted, deadlineOf, earliestEnd, mayHaveGivenBack, mayHaveTakenEffect } from '../lease-ends.ts';
import type { Grant, Ledger, Settle, TaskStory } from '../ledger.ts';

/** Only the latest grant settles, an ack is the end, and a call that was refused changed nothing. */
export function* fencing({ tasks }: Ledger): Iterable<Violation> {
  for (const story of tasks.values()) {
    yield* fences(story);
    yield* staleVerbs(story);
    yield* afterTheEnd(story);
    yield* wrongResult(story);
    yield* lostBeforeTime(story);
  }
}

function* fences({ id, grants }: TaskStory): Iterable<Violation> {
  for (const [index, next] of grants.entries()) {
    const before = grants[index - 1];
    if (!before) continue;
    const at = next.grantedAt;
    if (next.fence === before.fence) yield { task: id, at, says: `two grants have the fence ${next.fence}` };
    else if (at + CLOCK_GRAIN_MS < before.grantedAt) {
      yield { task: id, at, says: `fence ${next.fence} was given out before fence ${before.fence}` };
    }
  }
}

function* staleVerbs({ id, grants, settles }: TaskStory): Iterable<Violation> {
  for (const settle of settles) {
    const { verb, call } = settle;
    const own = grants.find(({ token }) => token === verb.token);
    const newer = grants.find(
      ({ fence, grantedAt }) => own && fence > own.fence && grantedAt + CLOCK_GRAIN_MS < call.from,
    );
    if (!own || !newer || !accepted(settle)) continue;
    const says = `the ${verb.verb} ${call.name} of grant ${own.fence} was accepted after grant ${newer.fence} was made`;
    yield { task: id, at: call.to, says };
  }
}

function firstAcks({ settles }: TaskStory): Settle[] {
  return settles.filter(
    (settle) => settle.verb.verb === 'ack' && accepted(settle) && settle.result?.replayed === false,
  );
}

function* afterTheEnd(story: TaskStory): Iterable<Violation> {
  const { id, grants, found } = story;
  const acks = firstAcks(story);
  const [first, second] = acks;
  if (first && second) {
    yield {
      task: id,
      at: second.call.to,
      says: `was acknowledged for the first time twice: ${first.call.name} and ${second.call.name}`,
    };
  }
  const ended = Math.min(first?.call.to ?? Number.POSITIVE_INFINITY, found?.finishedAt ?? Number.POSITIVE_INFINITY);
  const after = grants.find(({ grantedAt }) => grantedAt > ended + CLOCK_GRAIN_MS);
  if (after) yield { task: id, at: after.grantedAt, says: `was granted (${after.fence}) after it had ended` };
}

function* wrongResult({ id, found, settles }: TaskStory): Iterable<Violation> {
  if (found?.state !== 'completed') return;
  const acks = settles.filter(({ verb }) => verb.verb === 'ack');
  const said =
    acks.find(accepted) ?? acks.find((settle) => mayHaveTakenEffect(settle) && settle.verb.result === found.result);
  if (said?.verb.result === found.result) return;
  const says = `shows the result ${found.result}, which is not that of the ack that was accepted (${said?.verb.result ?? 'none'})`;
  yield { task: id, at: found.finishedAt ?? 0, says };
}

/** A verb of the holder was refused while its lease ran, and nothing had ended that. */
function* lostBeforeTime(story: TaskStory): Iterable<Violation> {
  for (const settle of story.settles) {
    const { verb, call, result } = settle;
    const grant = story.grants.find(({ token }) => token === verb.token);
    if (!grant || result === null || result.status === 200) continue;
    const explained = earliestEnd(story, grant) <= call.to && (!mayHaveGivenBack(settle) || grantedAfter(story, grant));
    if (call.to + CLOCK_GRAIN_MS >= deadlineOf(story, grant) || explained) continue;
    yield {
      task: story.id,
      at: call.to,
      says: `the ${verb.verb} ${call.name} of its holder was refused (${result.code}) before the lease ran out`,
    };
  }
}

function grantedAfter({ grants, found }: TaskStory, { fence }: Grant): boolean {
  return grants.some((grant) => grant.fence > fence) || (found?.deliveries ?? 0) > fence;
}
