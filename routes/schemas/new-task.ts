import { z } from 'zod';
import { BACKOFF_TYPES, DEFAULT_BACKOFF } from '../../src/domain/backoff.ts';
import { LIMITS } from '../../src/domain/limits.ts';
import { IDEMPOTENCY_KEY_PATTERN, IDEMPOTENCY_KEY_RULE } from '../../src/http/idempotency.ts';
import { isTraceparent, isTracestate } from '../../src/http/trace-context.ts';
import { fields } from '../../src/http/validation.ts';
import { ON_UNIQUE_CONFLICT, UNIQUE_UNTIL } from '../../src/domain/unique.ts';
import { checkedText, fraction, list, name, oneOf, text, time, wholeNumber } from './fields.ts';

/** A year with its leap day, in ms: no retry waits longer. */
const MAX_BACKOFF_MS = 31_622_400_000;

/** A backoff of which some parts may be left out. */
export const partialBackoff = fields({
  type: oneOf(BACKOFF_TYPES).exactOptional(),
  baseMs: wholeNumber(0, MAX_BACKOFF_MS).exactOptional(),
  maxMs: wholeNumber(0, MAX_BACKOFF_MS).exactOptional(),
  jitter: fraction(0, 1).exactOptional(),
}).meta({
  id: 'BackoffSettings',
  description: `How long a failed task waits. Parts left out follow the defaults: ${JSON.stringify(DEFAULT_BACKOFF)}`,
});

const trace = fields({
  traceparent: checkedText(isTraceparent, 'must be a W3C traceparent', {}),
  tracestate: checkedText(
    isTracestate,
    `must be a W3C tracestate of at most ${LIMITS.maxTraceStateLength} characters`,
    {
      maxLength: LIMITS.maxTraceStateLength,
    },
  )
    .nullable()
    .optional(),
});

const metadata = z
  .record(z.string(), z.string({ error: 'must be text' }), { error: 'must be a JSON object of texts' })
  .refine((pairs) => Object.keys(pairs).length <= LIMITS.maxMetadataPairs, {
    error: `must have at most ${LIMITS.maxMetadataPairs} pairs`,
  })
  .refine((pairs) => metadataBytes(pairs) <= LIMITS.maxMetadataBytes, {
    error: `must have at most ${LIMITS.maxMetadataBytes} bytes of keys and values together`,
  })
  .refine((pairs) => Object.entries(pairs).every((pair) => pair.every((part) => part.isWellFormed())), {
    error: 'must be well-formed Unicode: it has half a surrogate pair',
  })
  .meta({ maxProperties: LIMITS.maxMetadataPairs });

function metadataBytes(pairs: Record<string, string>): number {
  let bytes = 0;
  for (const key in pairs) bytes += Buffer.byteLength(key) + Buffer.byteLength(pairs[key] ?? '');
  return bytes;
}

const unique = fields({
  key: text(LIMITS.maxUniqueKeyLength),
  until: oneOf(UNIQUE_UNTIL).default('finished').meta({
    description:
      'Until when the task holds the key: until it ends, until it is first leased, or for ttlMs after its creation. A deleted task holds none: where the queue’s retention deletes it sooner, the key is free sooner.',
  }),
  ttlMs: wholeNumber(1, LIMITS.maxUniqueTtlMs).optional().meta({
    description:
      'With "until": "ttl", and only then. Give the task a retentionMs of at least this, so that it is not deleted before, and the queue a completedMax that has room for such tasks.',
  }),
  onConflict: oneOf(ON_UNIQUE_CONFLICT).default('return').meta({
    description:
      'When another task of the queue holds the key: answer with that one, refuse, or cancel it and take its place, unless a worker has it.',
  }),
})
  .refine(({ until, ttlMs }) => (until === 'ttl') === (ttlMs !== undefined), {
    path: ['ttlMs'],
    error: 'is required with "until": "ttl", and goes with nothing else',
    when: ({ value }) => typeof value === 'object' && value !== null,
  })
  .meta({ id: 'Unique', description: 'At most one task of the queue holds the key at a time.' });

const shape = {
  queue: name().default('default'),
  type: name().nullable().default(null),
  payload: z.unknown().default(null).meta({ description: 'Any JSON; comes out as it went in.' }),
  priority: wholeNumber(0, 9).default(4).meta({ description: '9 first; first in, first out within one priority.' }),
  delayMs: wholeNumber(0, LIMITS.maxDelayMs).optional(),
  runAt: time().optional().meta({ description: 'Instead of delayMs. A time that has passed means now.' }),
  ttlMs: wholeNumber(1, LIMITS.maxTtlMs)
    .optional()
    .meta({ description: 'No lease is granted later than this after creation.' }),
  leaseMs: wholeNumber(LIMITS.minLeaseMs, LIMITS.maxLeaseMs).optional(),
  maxAttempts: wholeNumber(1, LIMITS.maxAttempts).optional(),
  backoff: partialBackoff.optional(),
  tags: list(text(LIMITS.maxTagLength), 0, LIMITS.maxTags, 'tags').default([]),
  metadata: metadata.default({}),
  trace: trace.optional(),
  unique: unique.optional(),
  retentionMs: wholeNumber(0, LIMITS.maxRetentionMs).optional().meta({
    description:
      'How long it is kept after it has ended, instead of the times of the queue’s retention. What goes beyond the queue’s completedMax is not.',
  }),
  groupKey: text(LIMITS.maxGroupKeyLength)
    .optional()
    .meta({ description: 'Tasks with the same one share a line of their own; groups are served in turn.' }),
};

/** Whether both ways to say when were used; asked of bodies that have other faults too. */
const notBoth = {
  path: ['runAt'],
  error: 'must not be given together with delayMs',
  when: ({ value }: { value: unknown }) => typeof value === 'object' && value !== null,
};

/** One task as a producer posts it. */
export const newTask = fields(shape)
  .refine(({ delayMs, runAt }) => delayMs === undefined || runAt === undefined, notBoth)
  .meta({ id: 'NewTask' });

/** A task in a batch, which carries its idempotency key itself. */
const batchEntry = fields({
  ...shape,
  idempotencyKey: checkedText((key) => IDEMPOTENCY_KEY_PATTERN.test(key), IDEMPOTENCY_KEY_RULE, {
    minLength: 1,
    maxLength: LIMITS.maxIdempotencyKeyLength,
  }).optional(),
})
  .refine(({ delayMs, runAt }) => delayMs === undefined || runAt === undefined, notBoth)
  .meta({ id: 'NewBatchTask' });

export const newTaskBatch = fields({ tasks: list(batchEntry, 1, LIMITS.maxBatch, 'tasks') }).meta({
  id: 'NewTaskBatch',
});

export type NewTaskBody = z.output<typeof batchEntry>;
