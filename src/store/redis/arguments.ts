import { createHash } from 'node:crypto';
import type { NewTask } from '../../domain/task.ts';
import type { EnqueueCall, LeaseCall, SettleItem } from '../store.ts';
import { backoffText } from './backoff-text.ts';
import { encodeAttributes, encodeWorkerId } from './replies.ts';

/** Arguments of the scripts, in the order their headers say; '' stands for none. */
type Arguments = (string | number)[];

/** One enqueue call, for enqueue.lua. */
export function encodeCall({ queue, tasks }: EnqueueCall, args: Arguments): void {
  args.push(queue, tasks.length);
  for (const task of tasks) {
    const attributes = encodeAttributes(task);
    const { leaseMs, maxAttempts, backoff, idempotency } = task;
    const settings =
      leaseMs === null && maxAttempts === null && backoff === null && idempotency === null
        ? '||||'
        : `|${leaseMs ?? ''}|${maxAttempts ?? ''}|${backoff === null ? '' : backoffText(backoff)}|${idempotency === null ? '' : keyDigest(idempotency.key)}`;
    args.push(
      task.id,
      `${task.type ?? ''}|${attributes.length}|${queue}|`,
      priorityAndExtras(task),
      `${settings}|${attributes}${task.payload}`,
    );
  }
}

/** The priority, and what most tasks do not have. */
function priorityAndExtras({ priority, delayMs, runAt, ttlMs, idempotency }: NewTask): string {
  if (delayMs === null && runAt === null && ttlMs === null && idempotency === null) return `${priority}`;
  const [key, fingerprint] = idempotency === null ? ['', ''] : [keyDigest(idempotency.key), idempotency.fingerprint];
  return `${priority},${delayMs ?? ''},${runAt ?? ''},${ttlMs ?? ''},${key},${fingerprint}`;
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

/** An idempotency key as it is named in Redis: of one length, and free of separators. */
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
