import { operation } from '../src/http/operation.ts';
import { sendProblem } from '../src/http/problem.ts';
import { sendRefusal } from '../src/http/refusals.ts';
import { toRfc3339 } from '../src/http/time.ts';
import type { OperationRecord } from '../src/store/store.ts';
import type { Deps } from './deps.ts';
import { EXAMPLES } from './schemas/examples.ts';
import {
  operationParams,
  operationReply,
  type OperationReply,
  redriveBody,
  redriveReply,
} from './schemas/operation.ts';
import { queueParams } from './schemas/queue.ts';

const STORE_PROBLEMS = ['store_unavailable', 'shutting_down'] as const;

function operationView(found: OperationRecord): OperationReply {
  const { id, queue, to, state, seen, total, matched, moved, createdAt, finishedAt } = found;
  return {
    ...{ id, kind: 'redrive', queue, to, state, progress: { done: seen, total }, matched, moved },
    createdAt: toRfc3339(createdAt),
    finishedAt: finishedAt === null ? null : toRfc3339(finishedAt),
  };
}

export const redriveQueue = operation(
  {
    id: 'redriveQueue',
    tag: 'Queues',
    summary: 'Redrive the dead tasks of a queue',
    description:
      'In the order in which they died; what dies after the request is left alone. Up to 1,000 tasks are redriven before the reply; what is more than that, or has a ratePerSec, goes on as an operation. A task whose unique key another one holds stays dead. With to, each becomes a new task of another queue: with a new id and its payload, type, priority, tags, metadata, group, unique key, trace, own settings, progress, checkpoint and last error, but without its ttl and its Idempotency-Key. It is gone from its own queue then, and a late settle is answered 404. Where that queue has no room within its maxBacklog, the redrive goes on as an operation that tries again every second. So does any redrive that is stored and of which a later step fails.',
    params: queueParams,
    body: redriveBody,
    bodyOptional: true,
    example: { filter: { errorCode: 'timeout' }, max: 500 },
    replies: {
      200: { description: 'Done, or counted.', schema: redriveReply, example: { matched: 17, moved: 17 } },
      202: {
        description: 'It goes on after this reply.',
        schema: operationReply,
        example: EXAMPLES.operation,
        headers: { Location: 'Path of the operation.' },
      },
    },
    problems: [
      'queue_not_found',
      'unsupported_media_type',
      'payload_too_large',
      'rate_limited',
      ...STORE_PROBLEMS,
      'store_full',
    ],
  },
  ({ broker }: Deps) =>
    async ({ params: { queue }, body }, reply) => {
      const { type, errorCode, diedBefore } = body.filter;
      const outcome = await broker.redriveMany(queue, {
        to: body.to ?? null,
        filter: { type: type ?? null, errorCode: errorCode ?? null, diedBefore: diedBefore ?? null },
        max: body.max ?? null,
        ratePerSec: body.ratePerSec ?? null,
        dryRun: body.dryRun,
      });
      switch (outcome.outcome) {
        case 'queue_not_found':
          return sendRefusal(reply, 'queue_not_found', queue);
        case 'too_many':
          return sendProblem(
            reply,
            'rate_limited',
            'Too many operations run already. Wait for the end of one, or cancel one. Nothing was redriven.',
          );
        case 'done': {
          const { matched, moved, more } = outcome;
          return more ? { matched, moved, more } : { matched, moved };
        }
        case 'begun':
          reply.code(202).header('location', `/operations/${outcome.operation.id}`);
          return operationView(outcome.operation);
      }
    },
);

export const getOperation = operation(
  {
    id: 'getOperation',
    tag: 'Operations',
    summary: 'Get an operation',
    description: 'One that has ended can be asked for until a day has passed, or 1,000 others have ended.',
    params: operationParams,
    replies: { 200: { description: 'The operation.', schema: operationReply, example: EXAMPLES.operation } },
    problems: ['operation_not_found', ...STORE_PROBLEMS],
  },
  ({ broker }: Deps) =>
    async ({ params: { id } }, reply) => {
      const found = await broker.operation(id);
      return found === null ? sendRefusal(reply, 'operation_not_found', id) : operationView(found);
    },
);

export const cancelOperation = operation(
  {
    id: 'cancelOperation',
    tag: 'Operations',
    summary: 'Stop an operation',
    description: 'What it has done stays done. One that has ended is answered as it is.',
    params: operationParams,
    replies: {
      200: {
        description: 'The operation, which has ended.',
        schema: operationReply,
        example: { ...EXAMPLES.operation, state: 'cancelled', finishedAt: '2030-01-31T09:30:02.500Z' },
      },
    },
    problems: ['operation_not_found', 'unsupported_media_type', ...STORE_PROBLEMS, 'store_full'],
  },
  ({ broker }: Deps) =>
    async ({ params: { id } }, reply) => {
      const found = await broker.cancelOperation(id);
      return found === null ? sendRefusal(reply, 'operation_not_found', id) : operationView(found);
    },
);
