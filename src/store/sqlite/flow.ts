import { concurrencyLeft } from '../../domain/flow.ts';
import type { HeldQueue } from '../store.ts';
import type { Data } from './data.ts';
import type { Queue } from './queue-table.ts';

/** Whether anything but its tasks bounds what is granted from the queue. */
export function isLimited({ config: { maxConcurrency, rateLimit } }: Queue): boolean {
  return maxConcurrency !== null || rateLimit !== null;
}

/** How many of `max` grants the limits of the queue allow. */
export function allowedGrants(data: Data, queue: Queue, max: number, now: number): number {
  const { maxConcurrency, rateLimit } = queue.config;
  const room = Math.min(max, concurrencyLeft(maxConcurrency, queue.counts.leased));
  if (rateLimit === null || room === 0) return room;
  return data.rates.allowance(queue, rateLimit, room, now).grants;
}

/** When the rate limit of the queue allows the next grant; null when it does now. */
export function rateClosedUntil(data: Data, queue: Queue, now: number): number | null {
  const { rateLimit } = queue.config;
  if (rateLimit === null) return null;
  const { grants, opensAt } = data.rates.allowance(queue, rateLimit, 1, now);
  return grants > 0 ? null : opensAt;
}

/** Those of the queues in which a limit keeps ready tasks from being granted. */
export function heldQueues(data: Data, queues: Iterable<Queue>, now: number): HeldQueue[] {
  const held: HeldQueue[] = [];
  for (const queue of queues) {
    if (queue.paused || queue.counts.ready === 0) continue;
    if (!hasRoom(queue)) held.push({ queue: queue.name, opensAt: null });
    else {
      const opensAt = rateClosedUntil(data, queue, now);
      if (opensAt !== null) held.push({ queue: queue.name, opensAt });
    }
  }
  return held;
}

/** Whether one more lease is within `maxConcurrency`. */
export function hasRoom({ config, counts }: Queue): boolean {
  return concurrencyLeft(config.maxConcurrency, counts.leased) > 0;
}

/** The names of the queues in which others became ready, which are forgotten by this. */
export function takeOpened(data: Data): string[] {
  const names = [...data.opened].filter(({ counts }) => counts.ready > 0).map(({ name }) => name);
  data.opened.clear();
  return names;
}

/**
 * Whether something in the queue may be granted that could not before, beside the task at hand, which is forgotten by this.
 * @param ended whether the lease of that task ended
 */
export function hasOpened(data: Data, queue: Queue, ended: boolean): boolean {
  const opened = data.opened.size > 0 && data.opened.delete(queue);
  return queue.counts.ready > 0 && (opened || (ended && leavesRoom(queue)));
}

/** Whether the end of a lease leaves room for a task that is ready. */
export function leavesRoom({ config, counts }: Queue): boolean {
  return config.maxConcurrency !== null && counts.ready > 0;
}
