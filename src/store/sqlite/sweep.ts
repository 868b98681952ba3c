import type { SweepReport } from '../store.ts';
import type { Data } from './data.ts';
import { earlier } from './due.ts';
import { leavesRoom, takeOpened } from './flow.ts';
import { regroupStep } from './groups.ts';
import { enter, expireLease, expireTask } from './life.ts';
import type { Queue } from './queue-table.ts';
import type { Task } from './task-row.ts';
import { prune, RETENTION_PAUSE_MS } from './retention.ts';

/** Tasks and keys that one step deals with at most. */
const STEP = 1000;
/** What each kind of work may count on, however much there is of the kinds before it. */
const SHARE = 100;
/** Queues that one step looks through for tasks to prune. */
const MAX_QUEUES = 250;

/** One bounded step of all that is due, in one transaction. */
export function sweep(data: Data): SweepReport {
  const now = data.now();
  const readied = new Set(data.passedOver);
  const freed = new Set<Queue>();
  let left = STEP;
  /** Runs one kind of work within what the `after` kinds that follow leave to it. */
  const step = (after: number, work: (limit: number) => number): number => {
    const done = work(left - after * SHARE);
    left -= done;
    return done;
  };

  let promoted = 0;
  let expired = 0;
  step(5, (limit) => {
    const due = data.agenda.scheduledUntil(now, limit);
    for (const task of due) {
      const queue = data.queues.byNo(task.queueNo);
      if (task.expiresAt !== null && task.expiresAt <= now) {
        expireTask(data, task, queue, now);
        expired += 1;
      } else {
        enter(data, task, queue, 'ready', now, 'back', task.groupPlace !== null);
        data.tasks.save(task);
        promoted += 1;
        if (task.state === 'ready') readied.add(queue.name);
      }
    }
    return due.length;
  });
  const reclaimed = step(4, (limit) => {
    const due = data.agenda.leasesUntil(now, limit);
    for (const task of due) {
      const queue = data.queues.byNo(task.queueNo);
      expireLease(data, task, queue, now);
      if (task.state === 'ready') readied.add(queue.name);
      else if (queue.config.maxConcurrency !== null) freed.add(queue);
    }
    return due.length;
  });
  expired += step(3, (limit) => {
    const due = data.agenda.ttlsUntil(now, limit);
    for (const task of due) expireTask(data, upToDate(data, task), data.queues.byNo(task.queueNo), now);
    return due.length;
  });
  step(2, (limit) => regroupStep(data, limit));
  const pruned = step(1, (limit) => pruneQueues(data, now, limit));
  step(0, (limit) => data.keys.deleteExpired(now, limit));

  for (const name of takeOpened(data)) readied.add(name);
  for (const queue of freed) if (leavesRoom(queue)) readied.add(queue.name);
  data.flush();
  const cleanUpAt = earlier(data.queues.nextRetention(), data.keys.nextExpiry());
  const dueAt = earlier(data.groups.planned() === null ? data.agenda.next() : now, unhurried(cleanUpAt, now));
  return { now, dueAt, promoted, reclaimed, expired, pruned, readied: [...readied] };
}

/** What becomes of one task of a group may have changed the next. */
function upToDate(data: Data, task: Task): Task {
  return task.groupKey === null ? task : (data.tasks.byId(task.id) ?? task);
}

function pruneQueues(data: Data, now: number, limit: number): number {
  // What this step has changed so far may have made a queue's retention due.
  data.flush();
  let pruned = 0;
  for (const queue of data.queues.retentionDue(now, MAX_QUEUES)) {
    if (pruned >= limit) break;
    pruned += prune(data, queue, now, limit - pruned);
  }
  return pruned;
}

/** Deleting what is over can wait a moment for more of it. */
function unhurried(at: number | null, now: number): number | null {
  return at === null || at <= now ? at : Math.max(at, now + RETENTION_PAUSE_MS);
}
