import { createHash } from 'node:crypto';
import type { NewTask } from '../../domain/task.ts';
import type { EnqueueCall, LeaseCall, SettleItem } from '../store.ts';
import { backoffText } from './backoff-text.ts';
import { encodeAttributes, encodeWorkerId, splitBody } from './replies.ts';

/** Arguments of the operations, in the order their headers say; '' stands for none. */
type Arguments = (string | number)[];

/** One enqueue call, for enqueue.lua. */
export function encodeCall(call: EnqueueCall, args: Arguments): void {
  args.push(call.queue, call.tasks.length);
  for (const task of call.tasks) {
    const attributes = encodeAttributes(task);
    args.push(
      task.id,
      `${task.type ?? ''}|${attributes.length}|${call.queue}|`,
      priorityAndExtras(task),
      `${settings(task)}|${attributes}${task.payload}`,
    );
  }
}

/** The same for try-enqueue.lua, which needs no bodies. */
export function encodeTry(call: EnqueueCall, args: Arguments): void {
  args.push(call.queue, call.tasks.length);
  for (const task of call.tasks) args.push(task.id, '', priorityAndExtras(task), '');
}

/**
 * A stored task as a new one of another queue, for receive.lua: what its producer asked for, but for what was about its own queue and the
 * time it was to run at.
 * @param body as lua/includes/body.lua lays it out
 */
export function encodeAgain(id: string, queue: string, body: string): Arguments {
  const { header, rest } = splitBody(body);
  const [
    ,
    ,
    ,
    ,
    type = '',
    length = '',
    ,
    ,
    priority = '',
    ,
    leaseMs,
    maxAttempts,
    backoff,
    ,
    unique = '',
    group,
    kept,
  ] = header;
  const plain = unique === '' && group === '' && kept === '';
  const held = unique === '' ? ',,,' : `${unique},reject`;
  return [
    id,
    `${type}|${length}|${queue}|`,
    plain ? priority : `${priority},,,,,,${held},${group},${kept}`,
    `|${leaseMs}|${maxAttempts}|${backoff}||${unique}|${group}|${kept}|${rest}`,
  ];
}

/** Fields of the body from leaseMs to the retention. */
function settings({ leaseMs, maxAttempts, backoff, idempotency, unique, groupKey, retentionMs }: NewTask): string {
  const own = leaseMs !== null || maxAttempts !== null || backoff !== null;
  const kept = unique !== null || groupKey !== null || retentionMs !== null;
  if (!own && idempotency === null && !kept) return '|||||||';
  const retries = `${maxAttempts ?? ''}|${backoff === null ? '' : backoffText(backoff)}`;
  const key = idempotency === null ? '' : keyDigest(idempotency.key);
  const held = unique === null ? '' : `${unique.until},${unique.ttlMs ?? ''},${keyDigest(unique.key)}`;
  const group = groupKey === null ? '' : keyDigest(groupKey);
  return `|${leaseMs ?? ''}|${retries}|${key}|${held}|${group}|${retentionMs ?? ''}`;
}

/** The priority, and what most tasks do not have. Scripts take digits only: a time before 1970 is one that has passed. */
function priorityAndExtras(task: NewTask): string {
  const { priority, delayMs, ttlMs, idempotency, unique, groupKey, retentionMs } = task;
  const runAt = task.runAt === null ? null : Math.max(task.runAt, 0);
  const times = delayMs !== null || runAt !== null || ttlMs !== null || retentionMs !== null;
  if (!times && idempotency === null && unique === null && groupKey === null) return `${priority}`;
  const keyed = idempotency === null ? ',' : `${keyDigest(idempotency.key)},${idempotency.fingerprint}`;
  const held =
    unique === null ? ',,,' : `${unique.until},${unique.ttlMs ?? ''},${keyDigest(unique.key)},${unique.onConflict}`;
  const group = groupKey === null ? '' : keyDigest(groupKey);
  return `${priority},${delayMs ?? ''},${runAt ?? ''},${ttlMs ?? ''},${keyed},${held},${group},${retentionMs ?? ''}`;
}

/** What a lease call asks for, for lease.lua: its token, and all else in one text. */
export function encodeLease({ token, max, leaseMs, workerId, requestId }: LeaseCall, args: Arguments): void {
  if (leaseMs === null && workerId === null && requestId === null) {
    args.push(token, max);
    return;
  }
  const request = requestId === null ? '' : keyDigest(requestId);
  args.push(token, `${max}|${leaseMs ?? ''}|${encodeWorkerId(workerId)}|${request}`);
}

/** A key of a client as it is named in Redis: of one length, and free of separators. */
export function keyDigest(key: string): string {
  return createHash('sha256').update(key).digest('base64url');
}

/** A text that may be empty, told from none. */
function optional(text: string | null): string {
  return text === null ? '' : `+${text}`;
}

/** One item, for settle.lua. */
export function encodeSettle(item: SettleItem, args: Arguments): void {
  const details = settleDetails(item);
  args.push(item.verb, item.id, item.token, details.length, ...details);
}

function settleDetails(item: SettleItem): Arguments {
  switch (item.verb) {
    case 'ack':
      return item.result === null ? [] : [item.result];
    case 'nack':
      return [
        item.error === null ? '0' : '1',
        optional(item.error?.code ?? null),
        optional(item.error?.message ?? null),
        item.error?.details ?? '',
        item.retryable ? '1' : '0',
        item.delayMs ?? '',
        item.random,
      ];
    case 'release':
      return [item.delayMs ?? ''];
    case 'heartbeat':
      return [item.leaseMs ?? '', item.maxRuntimeMs, item.progress ?? '', item.checkpoint ?? ''];
  }
}
