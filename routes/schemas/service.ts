import { z } from 'zod';
import { LIMITS } from '../../src/domain/limits.ts';
import { PROBLEM_CODES } from '../../src/domain/problems.ts';
import { fields } from '../../src/http/validation.ts';
import { flagParam, oneOf } from './fields.ts';

export const about = z
  .object({
    name: z.string(),
    version: z.string(),
    docs: z.string(),
    openapi: z.string(),
    limits: z.string(),
    problems: z.string(),
  })
  .meta({ id: 'About' });

export const limits = z
  .object(Object.fromEntries(Object.keys(LIMITS).map((name) => [name, z.int()])))
  .meta({ id: 'Limits', description: 'Bytes are UTF-8 bytes; what ends in Ms is in milliseconds.' });

export const problemKind = z
  .object({
    code: z.enum(PROBLEM_CODES),
    type: z.string(),
    status: z.int(),
    title: z.string(),
    retryable: z.boolean(),
    help: z.string().meta({ description: 'What it means and what to do.' }),
  })
  .meta({ id: 'ProblemKind' });

export const problemCatalogue = z.object({ problems: z.array(problemKind) }).meta({ id: 'ProblemCatalogue' });

export const problemParams = z.object({ code: z.string().meta({ examples: ['lease_lost'] }) });

export const alive = z.object({ status: z.literal('ok') }).meta({ id: 'Alive' });

const check = z.object({ name: oneOf(['shutdown', 'store']), ok: z.boolean(), detail: z.string() });

export const ready = z
  .object({
    status: z.literal('ready'),
    checks: z.array(check).optional(),
    durability: z
      .string()
      .nullable()
      .optional()
      .meta({ description: 'What a crash can cost: none, unknown, everysec, always, replicated:N, full or normal.' }),
  })
  .meta({ id: 'Ready' });

export const readyQuery = fields({
  verbose: flagParam().default(false).meta({ description: 'Lists each check, and the durability.' }),
});
