import type { JsonText } from '../../src/domain/json-text.ts';
import type { NewTask } from '../../src/domain/task.ts';

/** A task with nothing to it. */
export function plainTask(id: string): NewTask {
  return {
    id,
    type: null,
    payload: 'null' as JsonText,
    ...{ priority: 4, delayMs: null, runAt: null, ttlMs: null, leaseMs: null, maxAttempts: null, backoff: null },
    ...{ tags: [], metadata: {}, trace: null, unique: null, groupKey: null, retentionMs: null, idempotency: null },
  };
}
