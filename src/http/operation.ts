import type { FastifyReply, FastifyRequest, FastifySchema, RouteHandlerMethod } from 'fastify';
import type { z } from 'zod';
import type { ProblemCode } from '../domain/problems.ts';
import { fields, optionalBodies } from './validation.ts';

export const TAGS = {
  Tasks: 'Producers post tasks, and anybody may look at them.',
  Leases: 'Workers lease tasks, keep them alive and settle them.',
  Queues: 'What each queue does and holds.',
  Operations: 'Work that goes on after its reply.',
  Service: 'About the broker itself.',
} as const;

/** One way in which an operation succeeds. */
export interface ReplySpec {
  description: string;
  /** JSON by this schema; none for an empty reply. */
  schema?: z.ZodType;
  example?: unknown;
  /** Headers that say something, with what they say. */
  headers?: Record<string, string>;
  /** A reply that is not JSON. */
  mediaType?: string;
}

/** What one method of one URL takes and answers: validation, serialisation and documentation are made of it. */
export interface OperationSpec {
  /** Name of the method in generated clients. */
  id: string;
  tag: keyof typeof TAGS;
  summary: string;
  description?: string;
  params?: z.ZodObject;
  query?: z.ZodObject;
  body?: z.ZodObject;
  /** Whether the body may be left out; then it counts as `{}`. */
  bodyOptional?: boolean;
  /** Request headers that matter. */
  headers?: Record<string, string>;
  /** A body to paste. */
  example?: unknown;
  replies: Record<number, ReplySpec>;
  /** What it refuses with, beyond what any request may meet ({@link EVERYWHERE}). */
  problems: readonly ProblemCode[];
}

/** What any request may be answered with. */
export const EVERYWHERE: readonly ProblemCode[] = ['malformed_request', 'validation_failed', 'internal_error'];

type Part<Spec, Name extends string> =
  Spec extends Record<Name, infer Schema extends z.ZodType> ? z.output<Schema> : Record<string, never>;

/** A request as the handler gets it: validated. */
export type Request<Spec extends OperationSpec> = FastifyRequest<{
  Params: Part<Spec, 'params'>;
  Querystring: Part<Spec, 'query'>;
  Body: Part<Spec, 'body'>;
}>;

/** An operation that is still to be bound to what it works with. */
export interface Operation<Deps> {
  spec: OperationSpec;
  bind(deps: Deps): RouteHandlerMethod;
}

/** Joins a specification and its handler, which is made once per server. */
export function operation<Deps, const Spec extends OperationSpec>(
  spec: Spec,
  handler: (deps: Deps) => (request: Request<Spec>, reply: FastifyReply) => unknown,
): Operation<Deps> {
  return {
    spec,
    bind(deps) {
      const handle = handler(deps);
      // Fastify does not know what validation has made of the request.
      return (request, reply) => handle(request as Request<Spec>, reply);
    },
  };
}

const NOTHING = mayBeMissing(fields({}));

/** A copy, because another operation may insist on the same body. */
function mayBeMissing(body: z.ZodObject): z.ZodObject {
  const copy = body.clone();
  optionalBodies.add(copy);
  return copy;
}

/** The specification as Fastify wants it. What a route does not take is refused when it comes. */
export function fastifySchema(spec: OperationSpec, method: string): FastifySchema {
  const schema: FastifySchema = { querystring: spec.query ?? NOTHING };
  if (spec.params) schema.params = spec.params;
  if (method !== 'GET') {
    schema.body = spec.body && spec.bodyOptional === true ? mayBeMissing(spec.body) : (spec.body ?? NOTHING);
  }
  const replies = Object.entries(spec.replies).flatMap(([status, { schema: reply }]) =>
    reply === undefined ? [] : [[status, reply]],
  );
  if (replies.length > 0) schema.response = Object.fromEntries(replies);
  return schema;
}
