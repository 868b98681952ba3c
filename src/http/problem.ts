import type { FastifyReply } from 'fastify';
import { PROBLEMS, type ProblemCode } from '../domain/problems.ts';

/** One thing that is wrong with a request: where (JSON pointer, RFC 6901) and what is allowed there. */
export interface Fault {
  pointer: string;
  detail: string;
}

/** A problem document (RFC 9457) as it goes over the wire. */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  detail: string;
  /** The request's path, or that of the task that one entry of a batch is about. */
  instance: string;
  code: ProblemCode;
  /** Whether the same request may succeed later. */
  retryable: boolean;
  errors?: readonly Fault[];
}

/** More faults than this are not listed: a thousand bad entries say no more than a hundred. */
export const MAX_FAULTS = 100;

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** Seconds after which a 429 or 503 may be tried again. */
const RETRY_AFTER_SECONDS = '1';

/** Refuses a request from anywhere below a route; answered as a problem document. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly errors: readonly Fault[] | undefined;

  constructor(code: ProblemCode, detail: string, options: { errors?: readonly Fault[]; cause?: unknown } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Problem';
    this.code = code;
    this.errors = options.errors;
  }
}

/** A 422 that names its faults. */
export function invalid(errors: readonly Fault[]): Problem {
  return new Problem('validation_failed', summary(errors), { errors });
}

/** A 413 that names the fields that are too large. */
export function tooLarge(errors: readonly Fault[]): Problem {
  return new Problem('payload_too_large', summary(errors), { errors });
}

function summary(errors: readonly Fault[]): string {
  const [first] = errors;
  if (first === undefined) return 'The request is not valid.';
  const place = first.pointer === '' ? '' : `${first.pointer}: `;
  return errors.length === 1 ? `${place}${first.detail}` : `${place}${first.detail} (and ${errors.length - 1} more)`;
}

export function problemDocument(
  code: ProblemCode,
  detail: string,
  instance: string,
  errors?: readonly Fault[],
): ProblemDocument {
  const { title, status, retryable } = PROBLEMS[code];
  const document: ProblemDocument = {
    type: `/problems/${code}`,
    title,
    status,
    detail,
    instance,
    code,
    retryable,
  };
  if (errors !== undefined) document.errors = errors.slice(0, MAX_FAULTS);
  return document;
}

/** Answers with a problem. `more`: members beyond those that every problem has. */
export function sendProblem(
  reply: FastifyReply,
  code: ProblemCode,
  detail: string,
  errors?: readonly Fault[],
  more?: Record<string, unknown>,
): FastifyReply {
  const document = problemDocument(code, detail, pathOf(reply.request.raw.url), errors);
  reply.code(document.status).header('content-type', PROBLEM_MEDIA_TYPE).header('cache-control', 'no-store');
  if (document.status === 429 || document.status === 503) reply.header('retry-after', RETRY_AFTER_SECONDS);
  // As bytes: to a text Fastify would add a charset, which this media type does not have.
  return reply.send(Buffer.from(JSON.stringify(more === undefined ? document : { ...document, ...more })));
}

/** A request's target without its query, which may hold secrets. */
export function pathOf(url: string | undefined): string {
  if (url === undefined) return '/';
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}
