import { z } from 'zod';
import { LIMITS } from '../../src/domain/limits.ts';
import { TASK_STATES } from '../../src/domain/task.ts';
import { SETTLE_VERBS } from '../../src/domain/transitions.ts';
import { fields } from '../../src/http/validation.ts';
import { count, flag, list, text, timestamp, wholeNumber } from './fields.ts';
import { workerId } from './lease.ts';
import { problemReply } from './problem.ts';
import { leasedTask } from './task.ts';

const MAX_TOKEN_LENGTH = 256;
const MAX_ID_LENGTH = 256;

const token = { leaseToken: text(MAX_TOKEN_LENGTH) };
const delayMs = wholeNumber(0, LIMITS.maxDelayMs).optional();

const ack = { ...token, result: z.unknown().optional() };

const leaseNext = fields({
  max: wholeNumber(1, LIMITS.maxLease).default(1),
  leaseMs: wholeNumber(LIMITS.minLeaseMs, LIMITS.maxLeaseMs).optional(),
  workerId,
})
  .optional()
  .meta({ description: 'Lease more tasks from the same queue in the same round trip.' });

const nack = {
  ...token,
  error: fields({
    code: text(LIMITS.maxErrorCodeLength).nullable().optional(),
    message: z
      .string({ error: 'must be text' })
      .nullable()
      .optional()
      .meta({ description: `Cut after ${LIMITS.maxErrorMessageBytes} bytes.` }),
    details: z.unknown().optional(),
  }).optional(),
  retryable: flag().default(true).meta({ description: 'false: dead at once, whatever attempts are left.' }),
  delayMs: delayMs.meta({ description: 'Instead of the backoff.' }),
};

const release = { ...token, delayMs };

const heartbeat = {
  ...token,
  leaseMs: wholeNumber(LIMITS.minLeaseMs, LIMITS.maxLeaseMs)
    .optional()
    .meta({ description: 'Counts from now; as long as the lease was granted for when left out.' }),
  progress: z.unknown().optional().meta({ description: 'Shown to whoever looks at the task.' }),
  checkpoint: z.unknown().optional().meta({ description: 'Handed to whoever leases the task next.' }),
};

export const ackBody = fields({ ...ack, leaseNext }).meta({ id: 'Ack' });
export const nackBody = fields(nack).meta({ id: 'Nack' });
export const releaseBody = fields(release).meta({ id: 'Release' });
export const heartbeatBody = fields(heartbeat).meta({ id: 'Heartbeat' });

const id = { id: text(MAX_ID_LENGTH) };

const settleItem = z
  .discriminatedUnion(
    'op',
    [
      fields({ ...id, op: z.literal('ack'), ...ack }).meta({ id: 'AckItem' }),
      fields({ ...id, op: z.literal('nack'), ...nack }).meta({ id: 'NackItem' }),
      fields({ ...id, op: z.literal('release'), ...release }).meta({ id: 'ReleaseItem' }),
      fields({ ...id, op: z.literal('heartbeat'), ...heartbeat }).meta({ id: 'HeartbeatItem' }),
    ],
    {
      error: (issue) =>
        issue.code === 'invalid_union' ? `must be one of ${SETTLE_VERBS.join(', ')}` : 'must be a JSON object',
    },
  )
  .meta({ id: 'SettleItem' });

export const settleBody = fields({ items: list(settleItem, 1, LIMITS.maxBatch, 'items') }).meta({
  id: 'SettleRequest',
});

export type SettleBody = z.output<typeof settleItem>;

const outcome = {
  id: z.string(),
  state: z.enum(TASK_STATES),
  attempt: count(),
  late: z.boolean().meta({ description: 'The lease had run out, but nobody else had been granted the task.' }),
  replayed: z.boolean().meta({ description: 'It had been settled so before; this is the first outcome.' }),
};

const runAt = timestamp().meta({ description: 'When it may run next, where it waits again.' });
const newLease = z.object({ expiresAt: timestamp(), remainingMs: count() });
const cancelRequested = z.boolean().meta({ description: 'Somebody wants the task cancelled: stop and settle.' });

export const settled = z.object(outcome).meta({ id: 'Settled' });
export const acked = z
  .object({
    ...outcome,
    next: z
      .array(leasedTask)
      .meta({ description: 'What `leaseNext` leased; a repeated ack finds what still runs of it.' }),
  })
  .meta({ id: 'Acked' });
export const nacked = z.object({ ...outcome, runAt }).meta({ id: 'Nacked' });
export const extended = z.object({ ...outcome, lease: newLease, cancelRequested }).meta({ id: 'Extended' });

export const settleReply = z
  .object({
    results: z.array(
      z
        .object({
          id: z.string(),
          status: z.int(),
          state: outcome.state.optional(),
          attempt: outcome.attempt.optional(),
          late: outcome.late.optional(),
          replayed: outcome.replayed.optional(),
          runAt: runAt.optional(),
          lease: newLease.optional(),
          cancelRequested: cancelRequested.optional(),
          problem: problemReply.optional(),
        })
        .meta({ id: 'SettleResult' }),
    ),
    failed: count(),
  })
  .meta({ id: 'SettleReply' });
