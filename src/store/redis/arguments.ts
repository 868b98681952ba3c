import { createHash } from 'node:crypto';
import type { EnqueueCall, SettleItem } from '../store.ts';
import { backoffText } from './backoff-text.ts';
import { encodeAttributes } from './replies.ts';

/** Arguments of the scripts, in the order their headers say; '' stands for none. */
type Arguments = (string | number)[];

/** One enqueue call, for enqueue.lua. */
export function encodeCall({ queue, tasks }: EnqueueCall, args: Arguments): void {
  args.push(queue, tasks.length);
  for (const task of tasks) {
    args.push(
      task.id,
      task.type ?? '',
      task.priority,
      task.delayMs ?? '',
      task.runAt ?? '',
      task.ttlMs ?? '',
      task.leaseMs ?? '',
      task.maxAttempts ?? '',
      task.backoff === null ? '' : backoffText(task.backoff),
      task.idempotency === null ? '' : keyDigest(task.idempotency.key),
      task.idempotency?.fingerprint ?? '',
      encodeAttributes(task),
      task.payload,
    );
  }
}

/** An idempotency key as it is named in Redis: of one length, and free of separators. */
export function keyDigest(key: string): string {
  return createHash('sha256').update(key).digest('base64url');
}

/** A text that may be empty, told from none. */
function optional(text: string | null): string {
  return text === null ? '' : `+${text}`;
}

/** One item, for settle.lua: ten arguments whatever the verb. */
export function encodeSettle(item: SettleItem, args: Arguments): void {
  args.push(item.verb, item.id, item.token);
  switch (item.verb) {
    case 'ack':
      args.push(item.result ?? '', '', '', '', '', '', '');
      break;
    case 'nack':
      args.push(
        item.error === null ? '0' : '1',
        optional(item.error?.code ?? null),
        optional(item.error?.message ?? null),
        item.error?.details ?? '',
        item.retryable ? '1' : '0',
        item.delayMs ?? '',
        item.random,
      );
      break;
    case 'release':
      args.push(item.delayMs ?? '', '', '', '', '', '', '');
      break;
    case 'heartbeat':
      args.push(item.leaseMs ?? '', item.maxRuntimeMs, item.progress ?? '', item.checkpoint ?? '', '', '', '');
      break;
  }
}
