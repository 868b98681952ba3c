import { DEFAULT_BACKOFF } from '../../domain/backoff.ts';
import type { QueueSettings } from '../../domain/queue.ts';
import type { Grant, NewTask } from '../../domain/task.ts';
import type {
  CancelOutcome,
  EnqueueCall,
  EnqueuedTask,
  EnqueueOutcome,
  EnqueueRefusal,
  HeldQueue,
  LeaseCall,
  RedriveOutcome,
  RemoveOutcome,
  SettleOutcome,
} from '../store.ts';
import { backoffText } from './backoff-text.ts';
import * as replies from './replies.ts';

const REFUSALS: readonly EnqueueRefusal['outcome'][] = ['idempotency_key_reused', 'unique_conflict', 'queue_full'];

/** Why a call was refused; null when the first part of the reply names no refusal. */
function refusal([outcome, ...indexes]: readonly unknown[]): EnqueueRefusal | null {
  const known = REFUSALS.find((name) => name === outcome);
  return known === undefined ? null : { outcome: known, indexes: indexes.map(replies.number) };
}

/** What try-enqueue.lua answers for one call. */
export function triedOutcome(reply: unknown): EnqueueRefusal | null {
  if (reply === '') return null;
  const refused = refusal(replies.list(reply));
  if (refused === null) throw new replies.UnexpectedReply('a refusal', reply);
  return refused;
}

/** What enqueue.lua answers for one call. */
export function storedOutcome(reply: unknown, call: EnqueueCall | undefined, now: number): EnqueueOutcome {
  const parts = replies.list(reply);
  const refused = refusal(parts);
  if (refused !== null) return refused;
  const [, detail, endedIds, ...stored] = parts;
  const allNow = endedIds === undefined;
  if (call === undefined || !(allNow || stored.length === call.tasks.length)) {
    throw new replies.UnexpectedReply('a task per entry', reply);
  }
  const maxAttempts = replies.number(detail);
  const tasks = call.tasks.map((task, index) =>
    storedTask(allNow ? now : stored[index], call.queue, task, now, maxAttempts),
  );
  const ended = allNow ? [] : replies.list(endedIds).map(replies.text);
  return ended.length === 0 ? { outcome: 'stored', tasks } : { outcome: 'stored', tasks, ended };
}

function storedTask(
  result: unknown,
  queue: string,
  asked: NewTask,
  now: number,
  queueMaxAttempts: number,
): EnqueuedTask {
  if (typeof result === 'number') {
    const task = replies.freshRecord(queue, asked, now, { runAt: result, state: 'ready' }, queueMaxAttempts);
    return { task, replayed: false, deduplicated: false };
  }
  const [how, what] = replies.list(result);
  if (typeof how === 'number') {
    const task = replies.freshRecord(
      queue,
      asked,
      now,
      { runAt: how, state: replies.taskState(what) },
      queueMaxAttempts,
    );
    return { task, replayed: false, deduplicated: false };
  }
  if (how === 'pruned') {
    const task = replies.prunedRecord(queue, asked, replies.text(what), queueMaxAttempts);
    return { task, replayed: true, deduplicated: false };
  }
  return { task: replies.taskRecord(what), replayed: how === 'replayed', deduplicated: how === 'deduplicated' };
}

/** What one lease call was granted, and what keeps more of its queue from being granted. */
export interface LeaseOutcome {
  grants: readonly Grant[];
  held: HeldQueue | null;
  /** The queue when others became ready in it because of this. */
  readied: string | null;
}

/** What lease.lua answers for one call, and whether there may be more behind entries that fit no task. */
export function leaseOutcome(reply: unknown, call: LeaseCall): LeaseOutcome & { more: boolean } {
  const [more, maxAttempts, heldUntil, opened, deadline, ...granted] = replies.list(reply);
  const grants: Grant[] = [];
  for (let at = 0; at < granted.length; at++) {
    const item = granted[at];
    if (typeof item !== 'string') grants.push(replies.grant(item));
    else
      grants.push(replies.firstGrant(item, granted[++at], call, replies.number(deadline), replies.number(maxAttempts)));
  }
  const opensAt = heldUntil === '-' ? null : replies.number(heldUntil === '' ? 0 : heldUntil);
  const held = heldUntil === '' ? null : { queue: call.queue, opensAt };
  return { more: more === 1, grants, held, readied: opened === '1' ? call.queue : null };
}

/** What settle.lua answers for one item. */
export function settledOutcome(reply: unknown): SettleOutcome {
  const [outcome, first, second, third, late, replayed, runAt, deadline, cancelRequested, freed] = replies
    .text(reply)
    .split('|');
  if (outcome === 'refused') return withReadied({ outcome, code: replies.problemCode(first) }, second);
  const settled = { outcome: 'settled', queue: replies.text(first) } as const;
  if (outcome === 'acked') {
    const ends = {
      state: 'completed',
      attempt: 1,
      late: false,
      replayed: false,
      runAt: replies.number(second),
    } as const;
    return withReadied({ ...settled, ...ends, leaseExpiresAt: null, cancelRequested: false }, third);
  }
  return withReadied(
    {
      ...settled,
      state: replies.taskState(second),
      attempt: replies.number(third),
      late: late === '1',
      replayed: replayed === '1',
      runAt: replies.number(runAt),
      leaseExpiresAt: replies.maybeNumber(deadline),
      cancelRequested: cancelRequested === '1',
    },
    freed,
  );
}

/** `readied` is left out where there is none. */
function withReadied<Outcome extends object>(outcome: Outcome, readied: unknown): Outcome & { readied?: string } {
  return readied === undefined || readied === '' ? outcome : { ...outcome, readied: replies.text(readied) };
}

/** What cancel.lua answers for one item. */
export function cancelOutcome(reply: unknown): CancelOutcome {
  const [outcome, detail, readied] = replies.list(reply);
  if (outcome === 'refused') return withReadied({ outcome, code: replies.problemCode(detail) }, readied);
  if (outcome !== 'cancelled' && outcome !== 'requested') throw new replies.UnexpectedReply('an outcome', reply);
  return withReadied({ outcome, task: replies.taskRecord(detail) }, readied);
}

/** What redrive.lua answers for one id. */
export function redriveOutcome(reply: unknown): RedriveOutcome {
  const [outcome, detail] = replies.list(reply);
  if (outcome === 'refused') return { outcome, code: replies.problemCode(detail) };
  return { outcome: 'redriven', task: replies.taskRecord(detail) };
}

/** What remove.lua answers for one id. */
export function removeOutcome(reply: unknown): RemoveOutcome {
  return reply === '' ? { outcome: 'removed' } : { outcome: 'refused', code: replies.problemCode(reply) };
}

/** Settings as fields of the queue's hash, '' for what follows the default. */
export function settingFields(settings: QueueSettings): (string | number)[] {
  const { leaseMs, maxAttempts, backoff, maxConcurrency, rateLimit, maxBacklog, groups, retention } = settings;
  return [
    'leaseMs',
    leaseMs ?? '',
    'maxAttempts',
    maxAttempts ?? '',
    'backoff',
    backoff === undefined ? '' : backoffText({ ...DEFAULT_BACKOFF, ...backoff }),
    'maxConcurrency',
    maxConcurrency ?? '',
    'rateLimit',
    rateLimit === undefined ? '' : `${rateLimit.limit},${rateLimit.periodMs}`,
    'maxBacklog',
    maxBacklog ?? '',
    'groupMax',
    groups?.maxConcurrency ?? '',
    'groupOrder',
    groups?.ordering ?? '',
    'completedMs',
    retention?.completedMs ?? '',
    'completedMax',
    retention?.completedMax ?? '',
    'deadMs',
    retention?.deadMs ?? '',
  ];
}
