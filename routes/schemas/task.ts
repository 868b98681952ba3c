import { z } from 'zod';
import { LIMITS } from '../../src/domain/limits.ts';
import { TASK_STATES } from '../../src/domain/task.ts';
import { fields } from '../../src/http/validation.ts';
import { problemReply } from './problem.ts';
import { EXAMPLES } from './examples.ts';
import {
  checkedText,
  count,
  flag,
  name,
  oneOf,
  text,
  throughJson,
  time,
  timestamp,
  wholeNumberParam,
} from './fields.ts';

/** With payloads and results a page may weigh a thousand times as much. */
export const MAX_FULL_PAGE = 100;

const MAX_CURSOR_LENGTH = 1024;

const taskShape = {
  id: z.string(),
  queue: z.string(),
  type: z.string().nullable(),
  state: z.enum(TASK_STATES),
  priority: z.int(),
  payload: throughJson().optional().meta({ description: 'Left out of lists and enqueue replies.' }),
  tags: z.array(z.string()),
  metadata: z.record(z.string(), z.string()),
  groupKey: z.string().nullable(),
  uniqueKey: z.string().nullable().meta({ description: 'As posted, whether the task still holds it or not.' }),
  attempt: count().meta({ description: 'Leases that counted so far.' }),
  maxAttempts: z.int(),
  deliveries: count().meta({ description: 'Grants ever made; equals the last fence.' }),
  createdAt: timestamp(),
  runAt: timestamp(),
  expiresAt: timestamp().nullable(),
  finishedAt: timestamp().nullable(),
};

const moreTaskShape = {
  progress: throughJson(),
  checkpoint: throughJson().optional().meta({ description: 'Left out of lists and enqueue replies.' }),
  result: throughJson().optional().meta({ description: 'Left out of lists and enqueue replies.' }),
  lastError: z
    .object({
      code: z.string().nullable(),
      message: z.string().nullable(),
      details: throughJson(),
      attempt: count(),
      at: timestamp(),
    })
    .nullable(),
  cancelRequested: z.boolean(),
  trace: z.object({ traceparent: z.string(), tracestate: z.string().nullable() }).nullable(),
};

const deduplicated = z
  .literal(true)
  .optional()
  .meta({ description: 'Nothing was stored: this is the task that holds the unique key.' });

export const task = z
  .object({
    ...taskShape,
    lease: z
      .object({ workerId: z.string().nullable(), expiresAt: timestamp(), remainingMs: count() })
      .nullable()
      .meta({ description: 'Who holds it, without the token.' }),
    ...moreTaskShape,
  })
  .meta({ id: 'Task' });

/** A task as the reply to its enqueue shows it. */
export const enqueuedTask = task.extend({ deduplicated }).meta({ id: 'EnqueuedTask' });

export const leasedTask = z
  .object({
    ...taskShape,
    lease: z.object({
      token: z.string().meta({ description: 'Secret: whoever has it can settle the task.' }),
      fence: count().meta({ description: 'Grows with every grant of the task; fences writes of the worker.' }),
      expiresAt: timestamp(),
      remainingMs: count(),
      workerId: z.string().nullable(),
    }),
    ...moreTaskShape,
  })
  .meta({ id: 'LeasedTask' });

export type TaskReply = z.input<typeof task>;
export type EnqueuedTaskReply = z.input<typeof enqueuedTask>;
export type LeasedTaskReply = z.input<typeof leasedTask>;

export const taskList = z.object({ tasks: z.array(enqueuedTask) }).meta({ id: 'TaskList' });

/** A batch of which some entries were not stored. */
export const partBatch = z
  .object({
    results: z.array(z.object({ status: z.int(), task: enqueuedTask.optional(), problem: problemReply.optional() })),
    failed: count(),
  })
  .meta({ id: 'PartlyStoredBatch' });

export const taskPage = z.object({ tasks: z.array(task), nextCursor: z.string().nullable() }).meta({ id: 'TaskPage' });

export const taskQuery = fields({
  waitMs: wholeNumberParam(0, LIMITS.maxWaitMs)
    .default(0)
    .meta({ description: 'Wait up to this long until the task is terminal.' }),
});

export const taskParams = z.object({ id: z.string().meta({ examples: [EXAMPLES.id] }) });

export const cursorParam = checkedText(
  (value) => value.length > 0 && value.length <= MAX_CURSOR_LENGTH,
  'must be the "nextCursor" of a page',
  { maxLength: MAX_CURSOR_LENGTH },
);

export const taskListQuery = fields({
  queue: name()
    .default('default')
    .meta({ examples: ['emails'] }),
  state: oneOf(TASK_STATES)
    .optional()
    .meta({ examples: ['dead'] }),
  type: name().optional(),
  tag: text(LIMITS.maxTagLength).optional().meta({ description: 'One of the task’s tags.' }),
  errorCode: text(LIMITS.maxErrorCodeLength).optional().meta({ description: 'The code of the last error.' }),
  createdAfter: time().optional().meta({ description: 'Created at this time or later.' }),
  createdBefore: time().optional().meta({ description: 'Created before this time.' }),
  order: oneOf(['oldest', 'newest']).default('oldest').meta({
    description:
      'Which come first: by when they ended in lists of one terminal state, otherwise by when they were created.',
  }),
  limit: wholeNumberParam(1, LIMITS.maxPageSize).default(100),
  cursor: cursorParam.optional(),
  view: oneOf(['summary', 'full']).default('summary'),
})
  .refine(({ limit, view }) => view !== 'full' || limit <= MAX_FULL_PAGE, {
    path: ['limit'],
    error: `must be at most ${MAX_FULL_PAGE} with view=full`,
  })
  .refine(
    ({ createdAfter, createdBefore }) =>
      createdAfter === undefined || createdBefore === undefined || createdAfter < createdBefore,
    { path: ['createdBefore'], error: 'must be later than createdAfter' },
  );

export const cancelBody = fields({
  reason: text(LIMITS.maxReasonLength).optional(),
  force: flag().default(false),
});
