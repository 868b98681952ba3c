import { z } from 'zod';
import { LIMITS } from '../../src/domain/limits.ts';
import { NAME_PATTERN } from '../../src/domain/names.ts';
import { type JsonSchema, wire } from '../../src/http/json-schema.ts';
import { fields } from '../../src/http/validation.ts';
import { NAME_RULE, oneOf, text, wholeNumber, wholeNumberParam } from './fields.ts';
import { leasedTask } from './task.ts';

export const DEFAULT_WAIT_MS = 20_000;

const NAME_SCHEMA = { type: 'string', pattern: NAME_PATTERN.source } as const;

const NAMES_SCHEMA = { type: 'array', items: NAME_SCHEMA, minItems: 1, maxItems: LIMITS.maxLeaseQueues } as const;

/**
 * One queue or several; the pointer of a fault has an index only where there are several.
 * @param schema what the way to give several looks like
 */
function queues(schema: JsonSchema): z.ZodDefault<z.ZodType<string[]>> {
  return z
    .unknown()
    .transform((value, context): string[] => {
      const several = Array.isArray(value);
      const names: unknown[] = several ? value : [value];
      const refuse = (message: string, path: number[] = []): void => {
        context.issues.push({ code: 'custom', message, path, input: value });
      };
      if (names.length === 0 || names.length > LIMITS.maxLeaseQueues) {
        refuse(`must be 1 to ${LIMITS.maxLeaseQueues} queues`);
      }
      for (const [index, name] of names.entries()) {
        if (typeof name !== 'string' || !NAME_PATTERN.test(name)) refuse(NAME_RULE, several ? [index] : []);
      }
      return [...new Set(names as string[])];
    })
    .register(wire, { schema })
    .default(['default']);
}

const order = oneOf(['strict', 'fair']).default('strict').meta({
  description:
    '`strict`: the queues in the order named. `fair`: in turn with the other calls to this broker that name these queues, and several tasks from all of them alike.',
});

const requestId = text(LIMITS.maxRequestIdLength).optional().meta({
  description:
    'Asked again with the same id, the call answers the leases of the first one that still run; when none does, it is a new call.',
});

export const workerId = text(LIMITS.maxWorkerIdLength)
  .optional()
  .meta({ description: 'For people who look at the lease; proves nothing.' });

const MAX_DESCRIPTION = 'How many tasks at most.';
const WAIT_DESCRIPTION = `How long to wait for a first task; 0 answers at once. ${DEFAULT_WAIT_MS} when left out.`;
const LEASE_DESCRIPTION = "The task's own or the queue's when left out.";

export const leaseQuery = fields({
  queue: queues({
    ...NAMES_SCHEMA,
    description: 'Repeat it for several queues; earlier ones first, unless `order` is `fair`.',
    examples: [['emails']],
  }),
  order,
  max: wholeNumberParam(1, LIMITS.maxLease).default(1).meta({ description: MAX_DESCRIPTION }),
  waitMs: wholeNumberParam(0, LIMITS.maxWaitMs).optional().meta({ description: WAIT_DESCRIPTION }),
  leaseMs: wholeNumberParam(LIMITS.minLeaseMs, LIMITS.maxLeaseMs).optional().meta({ description: LEASE_DESCRIPTION }),
  workerId,
  requestId,
});

export const leaseBody = fields({
  queue: queues({
    anyOf: [NAME_SCHEMA, NAMES_SCHEMA],
    description: 'One queue or a list; earlier ones first, unless `order` is `fair`.',
  }),
  order,
  max: wholeNumber(1, LIMITS.maxLease).default(1).meta({ description: MAX_DESCRIPTION }),
  waitMs: wholeNumber(0, LIMITS.maxWaitMs).optional().meta({ description: WAIT_DESCRIPTION }),
  leaseMs: wholeNumber(LIMITS.minLeaseMs, LIMITS.maxLeaseMs).optional().meta({ description: LEASE_DESCRIPTION }),
  workerId,
  requestId,
}).meta({ id: 'LeaseRequest' });

export const leaseReply = z.object({ tasks: z.array(leasedTask) }).meta({ id: 'LeaseReply' });
