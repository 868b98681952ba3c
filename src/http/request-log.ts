import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';

/** The pattern of the route, so that log lines group and hold no names of queues or tasks. */
export function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? '(none)';
}

/**
 * Logs one line per completed request at debug level: no payload, no query. What failed by a fault of the
 * broker is logged where its cause is known. Where debug lines are not wanted, requests pay nothing for them.
 */
export function logRequests(app: FastifyInstance, log: Logger): void {
  if (!log.isLevelEnabled('debug')) return;
  app.addHook('onResponse', (request, reply, done) => {
    log.debug(
      {
        reqId: request.id,
        method: request.method,
        route: routeOf(request),
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 100) / 100,
      },
      'request completed',
    );
    done();
  });
}
