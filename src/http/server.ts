import type { IncomingMessage } from 'node:http';
import { fastify, type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { LIMITS } from '../domain/limits.ts';
import { errorHandler } from './error-handler.ts';
import { acceptJsonBodies } from './json-body.ts';
import { Problem } from './problem.ts';
import { requestIdOf } from './request-id.ts';
import { logRequests } from './request-log.ts';
import { serializerCompiler } from './serialisation.ts';
import { answerUnknownRoutes } from './unknown-route.ts';
import { answerExpectations, answerUnreadable } from './unreadable-request.ts';
import { validatorCompiler } from './validation.ts';

export interface ServerOptions {
  log: Logger;
  /** How long a client may take to send a request. 30 s when left out. */
  requestTimeoutMs?: number;
}

/** Idle connections are kept for longer than usual load balancers keep them (60 s), so that these close first. */
const KEEP_ALIVE_MS = 72_000;

/** A queue's name has 128 characters; each may be percent-encoded. Longer ones get to validation all the same. */
const MAX_PARAM_LENGTH = 2048;

function noCompiler(): never {
  throw new Error('the compilers of schemas are set by createServer');
}

/**
 * The HTTP server without routes: limits, bodies, problems, request ids and the request log.
 *
 * Fastify's own logger is off: what it would log per request is logged here, and each request would
 * otherwise pay for a child logger of its own.
 */
export function createServer({ log, requestTimeoutMs = 30_000 }: ServerOptions): FastifyInstance {
  const app = fastify({
    bodyLimit: LIMITS.maxBodyBytes,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    onProtoPoisoning: 'error',
    // Requests on connections that are still open are served while the server closes.
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    genReqId: (request: IncomingMessage) => requestIdOf(request),
    clientErrorHandler: answerUnreadable,
    // Fastify would load its own, which takes a part of the start, only to see them replaced.
    schemaController: { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } },
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff');
      handleError(error, request, reply);
    },
    http: {
      // Node would answer a missing Host without a body; the hook below answers with a problem.
      requireHostHeader: false,
      connectionsCheckingInterval: Math.ceil(requestTimeoutMs / 3),
    },
  });
  const handleError = errorHandler(log);

  // Set here because Node's constructor refuses a value above requestTimeout, which bounds the headers anyway.
  app.server.headersTimeout = KEEP_ALIVE_MS + 1000;
  answerExpectations(app.server);

  app.setErrorHandler(handleError);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  acceptJsonBodies(app);

  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff');
    if (request.raw.headers.host === undefined && request.raw.httpVersion === '1.1') {
      throw new Problem('malformed_request', 'The Host header is missing.');
    }
    done();
  });
  answerUnknownRoutes(app);
  logRequests(app, log);
  return app;
}
