import { z } from 'zod';
import { BACKOFF_TYPES } from '../../src/domain/backoff.ts';
import { GROUP_ORDERINGS } from '../../src/domain/groups.ts';
import { LIMITS } from '../../src/domain/limits.ts';
import { TASK_STATES } from '../../src/domain/task.ts';
import { fields } from '../../src/http/validation.ts';
import { count, flagParam, list, name, oneOf, timestamp, wholeNumber, wholeNumberParam } from './fields.ts';
import { partialBackoff } from './new-task.ts';
import { cursorParam } from './task.ts';

const MAX_RETENTION_MS = 10 * 365 * 86_400_000;
const MAX_RETAINED = 1_000_000;
const NO_NULL = 'must not be null: PUT the configuration without it to return to the default';

export const queueParams = z.object({ queue: name().meta({ examples: ['emails'] }) });

const retention = fields({
  completedMs: wholeNumber(0, MAX_RETENTION_MS, NO_NULL).exactOptional(),
  completedMax: wholeNumber(0, MAX_RETAINED, NO_NULL).exactOptional(),
  deadMs: wholeNumber(0, MAX_RETENTION_MS, NO_NULL).exactOptional(),
});

const rateLimit = fields({
  limit: wholeNumber(1, LIMITS.maxRateLimit),
  periodMs: wholeNumber(1, LIMITS.maxRatePeriodMs),
}).meta({ description: 'At most `limit` grants in any `periodMs` that begins with a grant.' });

const groups = fields({
  maxConcurrency: wholeNumber(1, LIMITS.maxGroupConcurrency, NO_NULL).exactOptional(),
  ordering: oneOf(GROUP_ORDERINGS).exactOptional(),
}).meta({
  description:
    'How many tasks of a group run at once, and whether a failed one keeps its place in front of its group while it backs off (strict) or lets the next one pass (relaxed).',
});

/** What may be set on a queue; the same for PUT, which replaces, and PATCH, which merges. */
export const queueSettings = fields({
  leaseMs: wholeNumber(LIMITS.minLeaseMs, LIMITS.maxLeaseMs, NO_NULL).exactOptional(),
  maxAttempts: wholeNumber(1, LIMITS.maxAttempts, NO_NULL).exactOptional(),
  backoff: partialBackoff.exactOptional(),
  maxConcurrency: wholeNumber(1, LIMITS.maxQueueConcurrency, NO_NULL)
    .exactOptional()
    .meta({ description: 'Most leases at once, all workers together.' }),
  rateLimit: rateLimit.exactOptional(),
  maxBacklog: wholeNumber(0, LIMITS.maxQueueBacklog, NO_NULL)
    .exactOptional()
    .meta({ description: 'Most tasks that may wait or be leased at once; more are refused with 429 queue_full.' }),
  groups: groups.exactOptional(),
  retention: retention.exactOptional(),
}).meta({ id: 'QueueSettings' });

const backoff = z.object({ type: z.enum(BACKOFF_TYPES), baseMs: z.int(), maxMs: z.int(), jitter: z.number() });

const retentionReply = z.object({ completedMs: z.int(), completedMax: z.int(), deadMs: z.int() });

const groupsReply = z.object({ maxConcurrency: z.int(), ordering: z.enum(GROUP_ORDERINGS) });

const rateLimitReply = z.object({ limit: z.int(), periodMs: z.int() });

const counts = z.object(
  Object.fromEntries(TASK_STATES.map((state) => [state, count()])) as Record<(typeof TASK_STATES)[number], z.ZodInt>,
);

const totals = z
  .object({
    enqueued: count(),
    leased: count(),
    acked: count(),
    nacked: count(),
    released: count(),
    expired: count(),
    dead: count(),
  })
  .meta({ description: 'Since the queue was made.' });

export const queue = z
  .object({
    name: z.string(),
    paused: z.boolean(),
    createdAt: timestamp(),
    counts: counts.meta({ description: 'Tasks by state, as far as they are retained.' }),
    backlog: count().meta({ description: 'ready + leased' }),
    waiters: count().meta({ description: 'Long-polls that wait here, at this broker.' }),
    why: z.string().nullable().meta({
      description:
        'Why no task is granted though some wait, the first that holds: "paused", "concurrency" (nothing is ready, and a blocked task waits for a lease of its group, as far as 100 leases tell), "scheduled until <time>" (nothing is ready), "concurrency" (of the queue), "rate" (rateLimit), "no workers" (nobody waits here, nothing is leased); otherwise null.',
    }),
    oldestReadyAgeMs: count().meta({ description: '0 when nothing is ready.' }),
    nextRunAt: timestamp().nullable().meta({ description: 'When the next scheduled task is due.' }),
    config: z
      .object({
        leaseMs: z.int(),
        maxAttempts: z.int(),
        backoff: backoff.meta({ id: 'Backoff' }),
        maxConcurrency: z.int().nullable().meta({ description: 'null: no limit.' }),
        rateLimit: rateLimitReply.nullable().meta({ description: 'null: no limit.' }),
        maxBacklog: z.int().nullable().meta({ description: 'null: no limit.' }),
        groups: groupsReply,
        retention: retentionReply.meta({ id: 'Retention' }),
      })
      .meta({ description: 'What applies: the settings over the defaults.' }),
    settings: z
      .object({
        leaseMs: z.int().optional(),
        maxAttempts: z.int().optional(),
        backoff: backoff.partial().optional(),
        maxConcurrency: z.int().optional(),
        rateLimit: rateLimitReply.optional(),
        maxBacklog: z.int().optional(),
        groups: groupsReply.partial().optional(),
        retention: retentionReply.partial().optional(),
      })
      .meta({ description: 'What was set.' }),
    totals,
  })
  .meta({ id: 'Queue' });

export type QueueReply = z.input<typeof queue>;

export const queuePage = z
  .object({ queues: z.array(queue), nextCursor: z.string().nullable() })
  .meta({ id: 'QueuePage' });

export const queueStats = z
  .object({
    ready: count(),
    scheduled: count(),
    blocked: count(),
    leased: count(),
    completed: count(),
    dead: count(),
    waiters: count(),
    oldestReadyAgeMs: count(),
    backlog: count(),
  })
  .meta({ id: 'QueueStats' });

export type QueueStatsReply = z.input<typeof queueStats>;

export const queueListQuery = fields({
  limit: wholeNumberParam(1, LIMITS.maxPageSize).default(100),
  cursor: cursorParam.optional(),
});

export const deleteQueueQuery = fields({
  force: flagParam().default(false).meta({ description: 'Deletes its tasks too, leased ones included.' }),
});

/** Not `leased`: workers hold those tasks. */
const PURGEABLE_STATES = TASK_STATES.filter((state) => state !== 'leased');

const [firstPurgeable = 'scheduled', ...morePurgeable] = PURGEABLE_STATES;

export const purgeBody = fields({
  states: list(oneOf([firstPurgeable, ...morePurgeable]), 1, PURGEABLE_STATES.length, 'states'),
}).meta({ id: 'Purge' });

export const purgeReply = z
  .object({ purged: z.record(z.string(), count()).meta({ description: 'How many tasks, by state.' }) })
  .meta({ id: 'Purged' });
