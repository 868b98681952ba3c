import { z } from 'zod';
import { LIMITS } from '../../src/domain/limits.ts';
import { OPERATION_STATES } from '../../src/domain/operation.ts';
import { fields } from '../../src/http/validation.ts';
import { count, flag, name, text, time, timestamp, wholeNumber } from './fields.ts';
import { EXAMPLES } from './examples.ts';

const MAX_RATE = 10_000;

const filter = fields({
  type: name().exactOptional(),
  errorCode: text(LIMITS.maxErrorCodeLength).exactOptional().meta({ description: 'Of the last error of a task.' }),
  diedBefore: time().exactOptional(),
}).meta({ description: 'Which dead tasks are meant; all of them when left out.' });

export const redriveBody = fields({
  filter: filter.default({}),
  max: wholeNumber(1, LIMITS.maxQueueBacklog)
    .exactOptional()
    .meta({ description: 'Deal with so many of the tasks that match, those that died first.' }),
  ratePerSec: wholeNumber(1, MAX_RATE).exactOptional(),
  dryRun: flag().default(false).meta({ description: 'Only count what matches.' }),
  to: name()
    .exactOptional()
    .meta({ description: 'The queue that they go to, made when it does not exist; their own when left out.' }),
}).meta({ id: 'Redrive' });

export const redriveReply = z
  .object({
    matched: count(),
    moved: count().meta({
      description: 'Those whose unique key another task holds stay dead and are not counted here.',
    }),
    more: z
      .literal(true)
      .optional()
      .meta({ description: 'Of a dry run that stopped counting: at least so many match. Left out otherwise.' }),
  })
  .meta({ id: 'Redriven' });

export const operationReply = z
  .object({
    id: z.string(),
    kind: z.enum(['redrive']),
    queue: z.string(),
    to: z.string().nullable().meta({ description: 'The queue that they go to; null for their own.' }),
    state: z.enum(OPERATION_STATES),
    progress: z
      .object({ done: count(), total: count() })
      .meta({ description: 'Dead tasks looked at, of those there were when it began.' }),
    matched: count(),
    moved: count(),
    createdAt: timestamp(),
    finishedAt: timestamp().nullable(),
  })
  .meta({ id: 'Operation' });

export type OperationReply = z.input<typeof operationReply>;

export const operationParams = z.object({ id: z.string().meta({ examples: [EXAMPLES.id] }) });
