import { isTerminal, type NewTask, type TaskRecord } from '../../domain/task.ts';
import { REPLACED_BY } from '../../domain/unique.ts';
import { CANCELLED_ERROR_CODE } from '../../domain/transitions.ts';
import type { EnqueueCall, EnqueuedTask, EnqueueOutcome, EnqueueRefusal, Stamped } from '../store.ts';
import type { Data } from './data.ts';
import { dueOf, earlier } from './due.ts';
import { type Plan, plan } from './enqueue-plan.ts';
import { isOpenToNew } from './groups.ts';
import { rebuild } from './key-table.ts';
import { catchUp, enter } from './life.ts';
import type { Queue } from './queue-table.ts';
import { newDetails, type Task, toRecord } from './task-row.ts';

export function enqueue(data: Data, calls: readonly EnqueueCall[]): Stamped<EnqueueOutcome> {
  const now = data.now();
  let dueAt: number | null = null;
  const results = calls.map((call): EnqueueOutcome => {
    const plans = plan(data, call, now);
    if ('outcome' in plans) return plans;
    const queue = data.queues.byName(call.queue) ?? data.queues.create(call.queue, now, {});
    let ended: string[] | null = null;
    const tasks = call.tasks.map((asked, index): EnqueuedTask => {
      const found = answerStored(data, queue, asked, plans[index], now);
      if (found !== null) return found;
      if (asked.unique !== null) {
        const holder = clearTheWay(data, queue, asked.unique.key, asked.id, now);
        if (holder !== null) {
          ended = [...(ended ?? []), holder.id];
          dueAt = earlier(dueAt, dueOf(holder, queue));
        }
      }
      const task = newTask(data, queue, asked, now);
      if (!data.tasks.insert(task, asked)) return answer(stored(data, asked.id));
      if (asked.idempotency !== null) data.keys.put(queue, asked.idempotency, task.id, now);
      if (task.groupKey !== null) data.groups.save(task);
      if (asked.unique !== null) data.uniques.store(task, asked.unique);
      queue.counts[task.state] += 1;
      queue.totals.enqueued += 1;
      data.queues.touch(queue);
      dueAt = earlier(dueAt, dueOf(task, queue));
      return answer(toRecord(task, newDetails(asked), queue));
    });
    data.opened.clear();
    return ended === null ? { outcome: 'stored', tasks } : { outcome: 'stored', tasks, ended };
  });
  return { now, dueAt, results };
}

/** What {@link enqueue} would refuse; reads only. */
export function tryEnqueue(data: Data, calls: readonly EnqueueCall[]): Stamped<EnqueueRefusal | null> {
  const now = data.now();
  const results = calls.map((call) => {
    const plans = plan(data, call, now);
    return 'outcome' in plans ? plans : null;
  });
  return { now, dueAt: null, results };
}

function answer(task: TaskRecord): EnqueuedTask {
  return { task, replayed: false, deduplicated: false };
}

/** The answer to an entry that stores nothing; null for the others. */
function answerStored(
  data: Data,
  queue: Queue,
  asked: NewTask,
  planned: Plan | undefined,
  now: number,
): EnqueuedTask | null {
  switch (planned?.do) {
    case 'same id':
      return answer(stored(data, planned.id));
    case 'return':
      return { task: stored(data, planned.id), replayed: false, deduplicated: true };
    case 'replay':
      return replay(data, queue, asked, now);
    default:
      return null;
  }
}

/**
 * Takes a unique key from whoever holds it: a task whose time is over, or one that is to be replaced. Answers the task
 * if it ended by this.
 */
function clearTheWay(data: Data, queue: Queue, key: string, by: string, now: number): Task | null {
  const holder = data.uniques.holder(queue, key, now);
  if (holder === null) return null;
  const { task, state, free } = holder;
  const before = task.finishedAt;
  if (!free || isTerminal(state)) catchUp(data, task, queue, now);
  if (!free && task.state !== 'cancelled') {
    enter(data, task, queue, 'cancelled', now);
    const message = `${REPLACED_BY}${by}`;
    data.tasks.setError(task, { code: CANCELLED_ERROR_CODE, message, details: null, attempt: task.attempt, at: now });
    data.tasks.save(task);
  }
  if (task.uniqueHeld !== null) data.uniques.letGo(task);
  return before === null && task.finishedAt !== null ? task : null;
}

/** The task that the key has stored before; the same id again, twice in one call, is no replay. */
function replay(data: Data, queue: Queue, asked: NewTask, now: number): EnqueuedTask {
  const found = asked.idempotency && data.keys.find(queue, asked.idempotency.key, now);
  if (!found) throw new Error('an idempotency key is gone within the transaction that found it');
  const task = found.kept ? rebuild(asked, found.taskId, found.kept, queue) : stored(data, found.taskId);
  return { task, replayed: found.taskId !== asked.id, deduplicated: false };
}

function stored(data: Data, id: string): TaskRecord {
  const found = data.tasks.fullById(id);
  if (found === null) throw new Error(`task ${id} is not there, though its key or its id is`);
  return toRecord(found.task, found.details, data.queues.byNo(found.task.queueNo));
}

function newTask(data: Data, queue: Queue, asked: NewTask, now: number): Task {
  const runAt = asked.runAt ?? now + (asked.delayMs ?? 0);
  const seq = data.counters.nextPlace();
  const { groupKey } = asked;
  const later = runAt > now;
  const blocked = !later && groupKey !== null && !isOpenToNew(data, queue, groupKey);
  return {
    seq,
    id: asked.id,
    queueNo: queue.no,
    state: later ? 'scheduled' : blocked ? 'blocked' : 'ready',
    priority: asked.priority,
    place: later || blocked ? null : seq,
    type: asked.type,
    attempt: 0,
    deliveries: 0,
    maxAttempts: asked.maxAttempts,
    leaseMs: asked.leaseMs,
    createdAt: now,
    runAt: Math.max(runAt, now),
    expiresAt: asked.ttlMs === null ? null : now + asked.ttlMs,
    finishedAt: null,
    token: null,
    workerId: null,
    grantedAt: null,
    grantNo: null,
    leaseLength: null,
    deadline: null,
    cancelRequested: false,
    settledBy: null,
    outcome: null,
    uniqueHeld: null,
    groupKey,
    groupPlace: groupKey === null || later ? null : seq,
    retentionMs: asked.retentionMs,
  };
}
