import type { FastifyInstance } from 'fastify';
import { serveDocs } from '../src/http/docs.ts';
import { openApiDocument, type Route } from '../src/http/openapi.ts';
import { fastifySchema } from '../src/http/operation.ts';
import { protectPages } from '../src/http/security-headers.ts';
import { refuseOtherMethods } from '../src/http/unknown-route.ts';
import type { Deps } from './deps.ts';
import * as backup from './backup.ts';
import * as enqueue from './enqueue.ts';
import * as leases from './leases.ts';
import * as operations from './operations.ts';
import * as queues from './queues.ts';
import { problemReply } from './schemas/problem.ts';
import * as service from './service.ts';
import * as settle from './settle.ts';
import * as tasks from './tasks.ts';

/** Every URL of the API that says something about tasks and queues, which no cache may keep. */
const API: readonly Route<Deps>[] = [
  ['POST', '/tasks', enqueue.enqueueTask],
  ['POST', '/tasks/batch', enqueue.enqueueTasks],
  ['GET', '/tasks', tasks.listTasks],
  ['GET', '/tasks/:id', tasks.getTask],
  ['DELETE', '/tasks/:id', tasks.deleteTask],
  ['POST', '/tasks/:id/cancel', tasks.cancelTask],
  ['POST', '/tasks/:id/redrive', tasks.redriveTask],

  ['GET', '/tasks/lease', leases.leaseTasks],
  ['POST', '/tasks/lease', leases.leaseTasksByPost],
  ['POST', '/tasks/:id/ack', settle.ackTask],
  ['POST', '/tasks/:id/nack', settle.nackTask],
  ['POST', '/tasks/:id/release', settle.releaseTask],
  ['POST', '/tasks/:id/heartbeat', settle.heartbeatTask],
  ['POST', '/leases/settle', settle.settleMany],

  ['GET', '/queues', queues.listQueues],
  ['GET', '/queues/:queue', queues.getQueue],
  ['PUT', '/queues/:queue', queues.putQueue],
  ['PATCH', '/queues/:queue', queues.patchQueue],
  ['DELETE', '/queues/:queue', queues.deleteQueue],
  ['GET', '/queues/:queue/stats', queues.getQueueStats],
  ['POST', '/queues/:queue/pause', queues.pauseQueue],
  ['POST', '/queues/:queue/resume', queues.resumeQueue],
  ['POST', '/queues/:queue/purge', queues.purgeQueue],
  ['POST', '/queues/:queue/redrive', operations.redriveQueue],

  ['GET', '/operations/:id', operations.getOperation],
  ['POST', '/operations/:id/cancel', operations.cancelOperation],

  ['GET', '/backup', backup.getBackup],
];

/** About the broker itself; `/docs` and `/openapi.json` are served beside them. */
const SERVICE: readonly Route<Deps>[] = [
  ['GET', '/', service.getAbout],
  ['GET', '/limits', service.getLimits],
  ['GET', '/problems', service.listProblems],
  ['GET', '/problems/:code', service.getProblem],
  ['GET', '/livez', service.getLivez],
  ['GET', '/readyz', service.getReadyz],
];

/** A HEAD would lease tasks, or copy the store, and tell nobody. */
const WITHOUT_HEAD = ['/tasks/lease', '/backup'];

/** Every operation that is documented. */
export const ROUTES: readonly Route<Deps>[] = [...API, ...SERVICE];

/** The OpenAPI document of the whole API. */
export function apiDocument(version: string): object {
  return openApiDocument(ROUTES, { version, problem: problemReply });
}

/** Registers everything that is served. */
export async function registerRoutes(app: FastifyInstance, deps: Deps): Promise<void> {
  const refuse = refuseOtherMethods(app);
  // Made when it is first asked for, not at the start.
  let made: { document: object; text: string } | null = null;
  function api(): { document: object; text: string } {
    if (made === null) {
      const document = apiDocument(deps.version);
      made = { document, text: JSON.stringify(document) };
    }
    return made;
  }

  await app.register(async (scope) => {
    scope.addHook('onRequest', (_request, reply, done) => {
      reply.header('cache-control', 'no-store');
      done();
    });
    for (const route of API) register(scope, route, deps);
  });

  await app.register(async (scope) => {
    await protectPages(scope);
    for (const route of SERVICE) register(scope, route, deps);
    scope.get('/openapi.json', (_request, reply) => {
      reply.header('content-type', 'application/json; charset=utf-8').send(api().text);
    });
    serveDocs(scope, () => api().document);
  });

  refuse();
}

function register(scope: FastifyInstance, [method, url, operation]: Route<Deps>, deps: Deps): void {
  scope.route({
    method,
    url,
    schema: fastifySchema(operation.spec, method),
    exposeHeadRoute: method === 'GET' && !WITHOUT_HEAD.includes(url),
    handler: operation.bind(deps),
  });
}
