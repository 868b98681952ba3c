import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { LIMITS } from '../domain/limits.ts';
import { PROBLEMS, type ProblemCode } from '../domain/problems.ts';
import { InvalidCursor, StoreError } from '../store/store.ts';
import { type Fault, Problem, sendProblem } from './problem.ts';
import { routeOf } from './request-log.ts';

interface Answer {
  code: ProblemCode;
  detail: string;
  errors?: readonly Fault[] | undefined;
}

const STORE_ANSWERS: Record<StoreError['kind'], Answer> = {
  unavailable: {
    code: 'store_unavailable',
    detail: 'The storage did not answer, so the outcome is unknown. Try again with the same key or token.',
  },
  full: {
    code: 'store_full',
    detail:
      'The storage has no room. Nothing was changed, but that what a purge or the deletion of a queue has deleted so far stays deleted.',
  },
  closed: { code: 'shutting_down', detail: 'This broker is stopping.' },
};

const INTERNAL: Answer = {
  code: 'internal_error',
  detail: 'The broker met an error of its own. Its log has the cause under the X-Request-Id of this reply.',
};

/** What Fastify itself refuses, in our words. */
const FRAMEWORK_ANSWERS: Record<string, Answer> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'unsupported_media_type',
    detail: 'A body must be JSON and be sent with "Content-Type: application/json".',
  },
  FST_ERR_CTP_BODY_TOO_LARGE: {
    code: 'payload_too_large',
    detail: `The body is larger than ${LIMITS.maxBodyBytes} bytes.`,
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: 'malformed_request',
    detail: 'The body is not as long as its Content-Length says.',
  },
  FST_ERR_BAD_URL: { code: 'malformed_request', detail: 'The path has a malformed percent-encoding.' },
  FST_ERR_MAX_PARAM_LENGTH: { code: 'malformed_request', detail: 'A part of the path is too long.' },
};

/**
 * Answers every error of a request as a problem document. What is a fault of the broker or of its store is
 * logged with its cause, of which the client learns nothing.
 */
export function errorHandler(log: Logger) {
  return (error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void => {
    const { code, detail, errors } = answerTo(error);
    const { status } = PROBLEMS[code];
    if (status >= 500) {
      const line = { reqId: request.id, method: request.method, route: routeOf(request), status, err: error };
      if (status === 500) log.error(line, 'request failed');
      else log.warn(line, 'request failed');
    }
    sendProblem(reply, code, detail, errors);
  };
}

function answerTo(error: FastifyError | Error): Answer {
  if (error instanceof Problem) return { code: error.code, detail: error.message, errors: error.errors };
  if (error instanceof StoreError) return STORE_ANSWERS[error.kind];
  if (error instanceof InvalidCursor) {
    const detail = 'is not a cursor of this list: use "nextCursor" of a page as it is, or leave it out';
    return { code: 'validation_failed', detail: `/cursor: ${detail}`, errors: [{ pointer: '/cursor', detail }] };
  }
  if (!('statusCode' in error)) return INTERNAL;
  const known = Object.hasOwn(FRAMEWORK_ANSWERS, error.code) ? FRAMEWORK_ANSWERS[error.code] : undefined;
  if (known) return known;
  if (error.statusCode === undefined || error.statusCode >= 500) return INTERNAL;
  return { code: 'malformed_request', detail: 'The request could not be read to its end.' };
}
