import type { FastifySchemaCompiler } from 'fastify';
import { z } from 'zod';
import { nearest } from '../domain/nearest.ts';
import { type Fault, invalid, MAX_FAULTS, Problem } from './problem.ts';

/** Schemas of bodies that may be left out; then they count as `{}`. */
export const optionalBodies = new WeakSet<z.ZodType>();

/** What a request part is called where it is not an object. */
const PART_WORDS: Record<string, string> = { body: 'field', querystring: 'query parameter' };

/**
 * An object in which nothing else may occur. The names it knows travel in the message of the issue that an
 * unknown one raises ({@link faults}), because an issue does not carry the schema that raised it.
 */
export function fields<Shape extends z.core.$ZodLooseShape>(shape: Shape): z.ZodObject<Shape, z.core.$strict> {
  const known = Object.keys(shape).join(' ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? known : 'must be a JSON object'),
  });
}

/**
 * Validates a part of the request by its zod schema and replaces it by what came out; otherwise refuses with
 * every fault named by JSON pointer.
 */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> = ({ schema, httpPart }) => {
  const word = PART_WORDS[httpPart ?? ''] ?? 'field';
  const mayBeMissing = httpPart === 'body' && optionalBodies.has(schema);
  const isPath = httpPart === 'params';
  return (data: unknown) => {
    if (isPath && hasEmptyPart(data)) return { error: new Problem('route_not_found', 'A part of the path is empty.') };
    // Fastify hands in a missing body as null.
    const result = schema.safeParse(data === null && mayBeMissing ? {} : data);
    return result.success ? { value: result.data } : { error: invalid(faults(result.error.issues, word)) };
  };
};

/** The router takes `/tasks/` for a task without an id. */
function hasEmptyPart(params: unknown): boolean {
  for (const name in params as object) if ((params as Record<string, unknown>)[name] === '') return true;
  return false;
}

function faults(issues: readonly z.core.$ZodIssue[], word: string): Fault[] {
  const seen = new Set<string>();
  const list: Fault[] = [];
  const add = (pointer: string, detail: string): void => {
    const key = `${pointer} ${detail}`;
    if (seen.has(key) || list.length > MAX_FAULTS) return;
    seen.add(key);
    list.push({ pointer, detail });
  };
  for (const issue of issues) {
    const pointer = toPointer(issue.path);
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        add(`${pointer}${toPointer([key])}`, unknown(key, issue.message.split(' '), word));
      }
    } else add(pointer, issue.message);
  }
  return list;
}

/** Names that belong elsewhere, and where. */
const ELSEWHERE: Record<string, string> = {
  idempotencyKey: 'send it as the Idempotency-Key header',
};

function unknown(key: string, known: readonly string[], word: string): string {
  const elsewhere = Object.hasOwn(ELSEWHERE, key) ? ELSEWHERE[key] : undefined;
  if (elsewhere !== undefined) return `unknown ${word}; ${elsewhere}`;
  const meant = nearest(key.slice(0, 64), known);
  return meant === null ? `unknown ${word}` : `unknown ${word}; did you mean "${meant}"?`;
}

/** A JSON pointer (RFC 6901). */
function toPointer(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
