import { isDisturbed, RECOVERY_MS } from '../calm.ts';
import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import type { Call, Ledger } from '../ledger.ts';
import { type Wait, waitsOf } from '../waits.ts';

/** How long a task may be due before a worker that asks for it must get it. */
const OVERDUE_MS = 5000;
/** A group or a limit of a queue holds tasks back for no longer than the leases last that there are; the load holds none for so long. */
const HELD_MS = 10_000;

/**
 * While nothing is broken, a worker that asks and waits is not told that there is nothing where a task has long been due. An answer like
 * that says as well that no backlog was in front of it. What groups and limits hold back is judged only where nothing was granted for
 * longer than anything is held.
 */
export function* inVain(ledger: Ledger): Iterable<Violation> {
  const polls = emptyPolls(ledger);
  const granted = grantTimes(ledger);
  for (const wait of waitsOf(ledger)) {
    if (wait.to - wait.due < OVERDUE_MS) continue;
    const { story, queue, due, to } = wait;
    const poll = polls.find((call) => {
      if (call.from < due + OVERDUE_MS || call.to + CLOCK_GRAIN_MS >= to) return false;
      return asks(call, queue) && !isHeldBack(wait, call, ledger, granted);
    });
    if (!poll) continue;
    const says = `was due ${to - due} ms before it was granted, and ${poll.name} was told meanwhile that there was nothing`;
    yield { task: story.id, at: poll.to, says };
  }
}

/** Calls that were made for the first time, waited as long as they would, and got nothing, while nothing was broken or had just been. */
function emptyPolls({ calls, faults }: Ledger): Call[] {
  return calls.filter(({ request, reply, again, from, to }) => {
    if (request.op !== 'lease' || reply?.op !== 'lease' || reply.grants.length > 0 || again !== null) return false;
    return to - from + CLOCK_GRAIN_MS >= request.waitMs && !isDisturbed(faults, from - RECOVERY_MS, to);
  });
}

function asks({ request }: Call, queue: string): boolean {
  return request.op === 'lease' && request.queues.includes(queue);
}

function isHeldBack({ queue, groupKey }: Wait, { from, to }: Call, { limits }: Ledger, granted: Times): boolean {
  const held = (times: readonly number[] = []): boolean => times.some((at) => at > from - HELD_MS && at <= to);
  return (
    (groupKey !== null && held(granted.get(`${queue} ${groupKey}`))) || (limits.has(queue) && held(granted.get(queue)))
  );
}

type Times = ReadonlyMap<string, readonly number[]>;

/** When leases were made or kept alive, by queue and by group. */
function grantTimes({ tasks, posts }: Ledger): Times {
  const times = new Map<string, number[]>();
  for (const { mark, grants, settles } of tasks.values()) {
    const posted = posts.get(mark)?.posted;
    if (!posted) continue;
    const beats = settles.filter(({ verb }) => verb.verb === 'heartbeat').map(({ call }) => call.to);
    const own = [...grants.map(({ grantedAt }) => grantedAt), ...beats];
    for (const name of [posted.queue, `${posted.queue} ${posted.groupKey}`]) {
      const known = times.get(name);
      if (known) known.push(...own);
      else times.set(name, [...own]);
    }
  }
  return times;
}
