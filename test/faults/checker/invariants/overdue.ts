import { isDisturbed, RECOVERY_MS } from '../calm.ts';
import { CLOCK_GRAIN_MS, type Violation } from '../invariant.ts';
import type { Call, Ledger } from '../ledger.ts';
import { type Wait, waitsOf } from '../waits.ts';

/** How long a task may be due before it must stand in its line: more than twice what a sweep may take. */
const OVERDUE_MS = 5000;
/** A group or a limit of a queue holds tasks back for no longer than the leases last that there are; the load holds none for so long. */
const HELD_MS = 10_000;

/** While nothing is broken, what has long been due is not passed over: neither by newer tasks of its line nor by workers that ask. */
export function* overdue(ledger: Ledger): Iterable<Violation> {
  const waits = [...waitsOf(ledger)].filter(({ due, to }) => to - due >= OVERDUE_MS);
  yield* inVain(ledger, waits);
  yield* overtaken(ledger, waits);
}

/**
 * While nothing is broken, a worker that asks and waits is not told that there is nothing where a task has long been due. An answer like
 * that says as well that no backlog was in front of it. What groups and limits hold back is judged only where nothing was granted for
 * longer than anything is held.
 */
function* inVain(ledger: Ledger, waits: readonly Wait[]): Iterable<Violation> {
  const polls = emptyPolls(ledger);
  const granted = grantTimes(ledger);
  for (const wait of waits) {
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

/** A new task goes to the end of its line; what was due long before it stands in front of it. */
function* overtaken(ledger: Ledger, waits: readonly Wait[]): Iterable<Violation> {
  const lines = newcomers(ledger);
  for (const { story, queue, groupKey, due, to } of waits) {
    const first = firstSince(lines.get(lineOf(queue, groupKey)) ?? [], due + OVERDUE_MS);
    if (first === undefined || first.grantedAt + CLOCK_GRAIN_MS >= to) continue;
    const says = `was due ${to - due} ms before it was granted, and ${first.task}, which was not before ${first.enters - due} ms later, was granted before it`;
    yield { task: story.id, at: first.grantedAt, says };
  }
}

interface Newcomer {
  task: string;
  /** When it came into its line, at the earliest. */
  enters: number;
  grantedAt: number;
}

interface Placed extends Newcomer {
  /** The one that was granted first of it and all that came after it. */
  firstOfRest: Newcomer;
}

/** Of those that came no earlier, the one that was granted first. */
function firstSince(line: readonly Placed[], since: number): Newcomer | undefined {
  let [from, to] = [0, line.length];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if ((line[middle]?.enters ?? since) < since) from = middle + 1;
    else to = middle;
  }
  return line[from]?.firstOfRest;
}

function lineOf(queue: string, groupKey: string | null): string {
  return `${queue} ${groupKey}`;
}

/** By line and in order, tasks that came into it for the first time while nothing was broken. */
function newcomers({ tasks, posts, faults, stalls }: Ledger): Map<string, Placed[]> {
  const disturbances = [...faults, ...stalls];
  const all = [...tasks.values()].flatMap(({ id, mark, grants: [first] }) => {
    const posted = posts.get(mark)?.posted;
    if (!posted || first?.fence !== 1) return [];
    const enters = first.createdAt + posted.delayMs;
    if (isDisturbed(disturbances, enters - RECOVERY_MS, enters)) return [];
    return [{ line: lineOf(posted.queue, posted.groupKey), task: id, enters, grantedAt: first.grantedAt }];
  });
  const lines = new Map<string, Placed[]>();
  for (const [line, own] of Map.groupBy(all, (one) => one.line)) {
    let firstOfRest: Newcomer | null = null;
    const backwards = own
      .sort((a, b) => b.enters - a.enters)
      .map((one) => {
        if (firstOfRest === null || one.grantedAt < firstOfRest.grantedAt) firstOfRest = one;
        return { ...one, firstOfRest };
      });
    lines.set(line, backwards.toReversed());
  }
  return lines;
}

/** Calls that were made for the first time, waited as long as they would, and got nothing, while nothing was broken or had just been. */
function emptyPolls({ calls, faults, stalls }: Ledger): Call[] {
  const disturbances = [...faults, ...stalls];
  return calls.filter(({ request, reply, again, from, to }) => {
    if (request.op !== 'lease' || reply?.op !== 'lease' || reply.grants.length > 0 || again !== null) return false;
    return to - from + CLOCK_GRAIN_MS >= request.waitMs && !isDisturbed(disturbances, from - RECOVERY_MS, to);
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
