import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { pathOf, sendProblem } from './problem.ts';

/** Answers paths at which nothing is served, and methods that nothing here has. */
export function answerUnknownRoutes(app: FastifyInstance): void {
  const answer = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    if (!app.supportedMethods.includes(request.method)) {
      reply.header('allow', 'GET, HEAD, POST, PUT, PATCH, DELETE');
      return sendProblem(reply, 'method_not_allowed', `${request.method} is not used by this API.`);
    }
    return sendProblem(reply, 'route_not_found', `Nothing is served at ${pathOf(request.raw.url)}.`);
  };
  app.setNotFoundHandler(answer);
  // Before the body: what it holds does not matter where nothing would read it.
  app.addHook('onRequest', (request, reply, done) => {
    if (request.is404) answer(request, reply);
    else done();
  });
}

/**
 * Gives every path that is registered from now on a 405 with `Allow` for the methods that it lacks. They are
 * routes of their own, so that `DELETE /tasks/lease` is not taken for the task "lease".
 * @returns to be called when all routes are registered
 */
export function refuseOtherMethods(app: FastifyInstance): () => void {
  const urls = new Set<string>();
  app.addHook('onRoute', ({ url }) => {
    urls.add(url);
  });
  return () => {
    for (const url of [...urls]) {
      const served = app.supportedMethods.filter((method) => app.hasRoute({ method, url }));
      const allow = served.join(', ');
      app.route({
        url,
        method: app.supportedMethods.filter((method) => !served.includes(method)),
        exposeHeadRoute: false,
        onRequest: (request, reply) => {
          reply.header('allow', allow);
          sendProblem(reply, 'method_not_allowed', `${request.method} is not possible here; the path takes ${allow}.`);
        },
        handler: () => undefined,
      });
    }
  };
}
