import type { EnqueueEntry } from '../src/broker/broker.ts';
import { DEFAULT_BACKOFF } from '../src/domain/backoff.ts';
import { LIMITS } from '../src/domain/limits.ts';
import type { Trace } from '../src/domain/task.ts';
import { fingerprint } from '../src/http/idempotency.ts';
import { JsonFields } from '../src/http/json-fields.ts';
import { type Fault, invalid } from '../src/http/problem.ts';
import { toRfc3339 } from '../src/http/time.ts';
import type { NewTaskBody } from './schemas/new-task.ts';

/** What the tasks of one enqueue have in common. */
export interface Posting {
  /** The store's clock. */
  now: number;
  /** From the headers, for tasks without a trace of their own. */
  trace: Trace | null;
}

/**
 * What the broker is asked to store for validated bodies.
 * @param pointerOf where the body of that index is in the request
 * @throws Problem that names everything that is too large, too deep or too far ahead
 */
export function toEntries(
  bodies: readonly NewTaskBody[],
  { now, trace }: Posting,
  pointerOf: (index: number) => string,
): EnqueueEntry[] {
  const json = new JsonFields();
  const tooFar: Fault[] = [];
  const entries = bodies.map((body, index): EnqueueEntry => {
    if (body.runAt !== undefined && body.runAt > now + LIMITS.maxDelayMs) {
      const latest = toRfc3339(now + LIMITS.maxDelayMs);
      tooFar.push({ pointer: `${pointerOf(index)}/runAt`, detail: `must be at most 366 days ahead, up to ${latest}` });
    }
    const backoff = body.backoff ? { ...DEFAULT_BACKOFF, ...body.backoff } : null;
    const ownTrace = body.trace
      ? { traceparent: body.trace.traceparent, tracestate: body.trace.tracestate ?? null }
      : null;
    return {
      queue: body.queue,
      task: {
        type: body.type,
        // Checked for depth before anything recursive looks at it.
        payload: json.text(body.payload, LIMITS.maxPayloadBytes, `${pointerOf(index)}/payload`),
        priority: body.priority,
        delayMs: body.delayMs ?? null,
        runAt: body.runAt ?? null,
        ttlMs: body.ttlMs ?? null,
        leaseMs: body.leaseMs ?? null,
        maxAttempts: body.maxAttempts ?? null,
        backoff,
        tags: body.tags,
        metadata: body.metadata,
        trace: ownTrace ?? trace,
        idempotency: null,
        groupKey: body.groupKey ?? null,
        retentionMs: body.retentionMs ?? null,
        unique: body.unique ? { ...body.unique, ttlMs: body.unique.ttlMs ?? null } : null,
      },
    };
  });
  if (tooFar.length > 0) throw invalid(tooFar);
  json.check();
  for (const [index, entry] of entries.entries()) {
    const given = bodies[index];
    if (given?.idempotencyKey === undefined) continue;
    const { idempotencyKey, ...body } = given;
    const asked = { ...body, backoff: entry.task.backoff ?? undefined };
    entry.task.idempotency = { key: idempotencyKey, fingerprint: fingerprint(asked) };
  }
  return entries;
}
