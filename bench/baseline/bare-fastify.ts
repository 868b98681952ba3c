/**
 * What the broker's requests would cost if there were no broker: Fastify with its own JSON parser, the same schemas
 * through the same validator, and the same replies (status, headers and JSON, made once) through the same
 * serialiser. Nothing is stored. `/parked` is never answered.
 */
import { fastify } from 'fastify';
import { ROUTES } from '../../routes/index.ts';
import { EXAMPLES } from '../../routes/schemas/examples.ts';
import { fastifySchema } from '../../src/http/operation.ts';
import { raw, serializerCompiler } from '../../src/http/serialisation.ts';
import { validatorCompiler } from '../../src/http/validation.ts';
import { toJsonText } from '../../src/domain/json-text.ts';
import { PAYLOAD, QUEUE } from '../load/payload.ts';

const HEADERS = {
  'x-request-id': 'YlzuaGsi-1s4c',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

/** The fields of a task as the load posts it. */
const POSTED = { queue: QUEUE, type: null, tags: [], metadata: {} };
const ENQUEUED = { ...EXAMPLES.summary, ...POSTED };
const LEASED = {
  tasks: [
    {
      ...EXAMPLES.leased,
      ...POSTED,
      payload: raw(toJsonText(PAYLOAD)),
      checkpoint: null,
      result: null,
      lease: { ...EXAMPLES.leased.lease, workerId: null },
    },
  ],
};
const ACKED = { ...EXAMPLES.settled, next: [] };

const REPLIES: Record<string, { status: number; reply: unknown; headers: Record<string, string> }> = {
  enqueueTask: { status: 201, reply: ENQUEUED, headers: { ...HEADERS, location: `/tasks/${EXAMPLES.id}` } },
  leaseTasks: { status: 200, reply: LEASED, headers: HEADERS },
  ackTask: { status: 200, reply: ACKED, headers: HEADERS },
};

const app = fastify();
app.setValidatorCompiler(validatorCompiler);
app.setSerializerCompiler(serializerCompiler);

for (const [method, url, { spec }] of ROUTES) {
  const answer = REPLIES[spec.id];
  if (answer === undefined) continue;
  const { status, reply: body, headers } = answer;
  app.route({
    method,
    url,
    schema: fastifySchema(spec, method),
    exposeHeadRoute: false,
    handler: async (_request, reply) => {
      reply.code(status).headers(headers);
      return body;
    },
  });
}

app.get('/parked', () => new Promise(() => {}));

await app.ready();
app.server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = app.server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  console.log(`listening on ${port}`);
});
process.on('SIGTERM', () => process.exit(0));
