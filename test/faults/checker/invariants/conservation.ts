import type { Found } from '../../history/event.ts';
import type { Violation } from '../invariant.ts';
import { accepted } from '../lease-ends.ts';
import type { Ledger } from '../ledger.ts';

/**
 * At rest, which is looked at, each task is in exactly one place, every counter is what a census counts, the doctor finds nothing, and nothing is left once
 * all is deleted.
 */
export function* conservation(ledger: Ledger): Iterable<Violation> {
  const at = ledger.drainedAt ?? 0;
  yield* notLookedAt(ledger, at);
  for (const task of ledger.metTwice) yield { task, at, says: 'is listed twice' };
  const found = [...ledger.tasks.values()].flatMap((story) => (story.found === null ? [] : [story.found]));
  const late = lateAcks(ledger);
  for (const [queue, { states, totals }] of ledger.counts) {
    const own = found.filter((task) => task.queue === queue);
    const count = (state: string): number => own.filter((task) => task.state === state).length;
    for (const [state, counted] of Object.entries(states)) {
      if (counted !== count(state)) {
        yield { task: null, at, says: `queue ${queue} counts ${counted} ${state} tasks and holds ${count(state)}` };
      }
    }
    const sums = { enqueued: own.length, leased: sum(own, ({ deliveries }) => deliveries), acked: count('completed') };
    for (const [total, counted] of Object.entries(sums)) {
      if (totals[total] !== counted) {
        yield { task: null, at, says: `queue ${queue} says ${totals[total]} ${total}, and its tasks say ${counted}` };
      }
    }
    const deaths = totals['dead'] ?? 0;
    const revived = own.filter(({ task, state }) => state === 'completed' && late.has(task)).length;
    if (deaths < count('dead') || deaths > count('dead') + revived) {
      yield {
        task: null,
        at,
        says: `queue ${queue} counts ${deaths} deaths for ${count('dead')} dead tasks: one died twice, or none did`,
      };
    }
  }
  for (const finding of ledger.findings ?? []) yield { task: null, at, says: `found by doctor: ${finding}` };
  for (const { what, names } of ledger.left) {
    if (names.length > 0)
      yield {
        task: null,
        at,
        says: `${names.length} ${what} left after everything was deleted: ${names.slice(0, 5).join(', ')}`,
      };
  }
}

/** What nobody has looked at proves nothing. */
function* notLookedAt({ posts, counts, findings, left }: Ledger, at: number): Iterable<Violation> {
  const queues = new Set([...posts.values()].map(({ posted }) => posted.queue));
  for (const queue of queues) {
    if (!counts.has(queue)) yield { task: null, at, says: `nobody has counted queue ${queue} in the end` };
  }
  if (findings === null) yield { task: null, at, says: 'nobody has asked the doctor in the end' };
  if (left.length === 0)
    yield { task: null, at, says: 'nobody has looked at what is left after everything was deleted' };
}

function sum(tasks: readonly Found[], of: (task: Found) => number): number {
  return tasks.reduce((total, task) => total + of(task), 0);
}

/** Tasks that were acknowledged late, perhaps when they were dead already. */
function lateAcks({ tasks }: Ledger): Set<string> {
  const late = [...tasks.values()].filter(({ settles }) => {
    return settles.some(
      (settle) => settle.verb.verb === 'ack' && (settle.result === null || (accepted(settle) && settle.result.late)),
    );
  });
  return new Set(late.map(({ id }) => id));
}
