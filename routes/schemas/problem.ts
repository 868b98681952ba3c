import { z } from 'zod';
import { PROBLEM_CODES } from '../../src/domain/problems.ts';

/** A problem document (RFC 9457). */
export const problemReply = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    code: z.enum(PROBLEM_CODES),
    retryable: z.boolean().meta({ description: 'Whether the same request may succeed later.' }),
    errors: z
      .array(z.object({ pointer: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: 'What is wrong, by JSON pointer into the request.' }),
  })
  .meta({ id: 'Problem' });
