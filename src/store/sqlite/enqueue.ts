import type { NewTask, TaskRecord } from '../../domain/task.ts';
import type { EnqueueCall, EnqueueOutcome, EnqueueRefusal, Stamped } from '../store.ts';
import type { Data } from './data.ts';
import { dueOf, earlier } from './due.ts';
import { rebuild } from './key-table.ts';
import type { Queue } from './queue-table.ts';
import { newDetails, type Task, toRecord } from './task-row.ts';

/** What is to be done with an entry: store it, or answer a task that is there under its id or its key. */
type Plan = 'store' | 'same id' | 'replay';

export function enqueue(data: Data, calls: readonly EnqueueCall[]): Stamped<EnqueueOutcome> {
  const now = data.now();
  let dueAt: number | null = null;
  const results = calls.map((call): EnqueueOutcome => {
    const plans = plan(data, call, now);
    if ('outcome' in plans) return plans;
    const queue = data.queues.byName(call.queue) ?? data.queues.create(call.queue, now, {});
    const tasks = call.tasks.map((asked, index) => {
      if (plans[index] === 'same id') return { task: stored(data, asked.id), replayed: false };
      if (plans[index] === 'replay') return replay(data, queue, asked, now);
      const task = newTask(data, queue, asked, now);
      if (!data.tasks.insert(task, asked)) return { task: stored(data, asked.id), replayed: false };
      if (asked.idempotency !== null) data.keys.put(queue, asked.idempotency, task.id, now);
      queue.counts[task.state] += 1;
      queue.totals.enqueued += 1;
      data.queues.touch(queue);
      dueAt = earlier(dueAt, dueOf(task, queue));
      return { task: toRecord(task, newDetails(asked), queue), replayed: false };
    });
    return { outcome: 'stored', tasks };
  });
  return { now, dueAt, results };
}

/** What {@link enqueue} would refuse; reads only. */
export function checkKeys(data: Data, calls: readonly EnqueueCall[]): Stamped<EnqueueRefusal | null> {
  const now = data.now();
  const results = calls.map((call) => {
    const plans = plan(data, call, now);
    return 'outcome' in plans ? plans : null;
  });
  return { now, dueAt: null, results };
}

/** Plans a call before any of it is stored, so that a refusal leaves nothing behind. Entries without a key need none. */
function plan(data: Data, call: EnqueueCall, now: number): EnqueueRefusal | readonly Plan[] {
  const plans: Plan[] = [];
  if (call.tasks.every(({ idempotency }) => idempotency === null)) return plans;
  const queue = data.queues.byName(call.queue);
  const fingerprints = new Map<string, string>();
  for (const [index, { id, idempotency }] of call.tasks.entries()) {
    if (idempotency === null || data.tasks.has(id)) {
      plans.push(idempotency === null ? 'store' : 'same id');
      continue;
    }
    const { key, fingerprint } = idempotency;
    const first = fingerprints.get(key) ?? (queue && data.keys.find(queue, key, now)?.fingerprint) ?? null;
    if (first !== null && first !== fingerprint) return { outcome: 'idempotency_key_reused', index };
    plans.push(first === null ? 'store' : 'replay');
    fingerprints.set(key, fingerprint);
  }
  return plans;
}

/** The task that the key has stored before; the same id again, twice in one call, is no replay. */
function replay(data: Data, queue: Queue, asked: NewTask, now: number): { task: TaskRecord; replayed: boolean } {
  const found = asked.idempotency && data.keys.find(queue, asked.idempotency.key, now);
  if (!found) throw new Error('an idempotency key is gone within the transaction that found it');
  const task = found.kept ? rebuild(asked, found.taskId, found.kept, queue) : stored(data, found.taskId);
  return { task, replayed: found.taskId !== asked.id };
}

function stored(data: Data, id: string): TaskRecord {
  const found = data.tasks.fullById(id);
  if (found === null) throw new Error(`task ${id} is not there, though its key or its id is`);
  return toRecord(found.task, found.details, data.queues.byNo(found.task.queueNo));
}

function newTask(data: Data, queue: Queue, asked: NewTask, now: number): Task {
  const runAt = asked.runAt ?? now + (asked.delayMs ?? 0);
  const seq = data.counters.nextPlace();
  return {
    seq,
    id: asked.id,
    queueNo: queue.no,
    state: runAt > now ? 'scheduled' : 'ready',
    priority: asked.priority,
    place: runAt > now ? null : seq,
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
  };
}
