import type { FastifyStaticSwaggerOptions } from '@fastify/swagger';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';

type Document = Extract<FastifyStaticSwaggerOptions['specification'], { document: unknown }>['document'];

/** Headers that belong to a connection, of which the pages have none. */
const OF_THE_CONNECTION = ['connection', 'date', 'keep-alive', 'transfer-encoding'];

/**
 * Serves the API's document for browsers at `/docs`. What that takes is loaded, and the document made, when
 * somebody first looks: it would be a good part of the start, and most brokers are never asked.
 */
export function serveDocs(app: FastifyInstance, document: () => object): void {
  let pages: Promise<FastifyInstance> | null = null;

  function loaded(): Promise<FastifyInstance> {
    pages ??= makePages(document()).catch((error: unknown) => {
      pages = null;
      throw error;
    });
    return pages;
  }

  async function answer({ raw, headers }: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    // A HEAD is answered from what a GET would be.
    const page = await (await loaded()).inject({ method: 'GET', url: raw.url ?? '/docs', headers });
    if (page.statusCode === 404) {
      reply.callNotFound();
      return reply;
    }
    for (const [name, value] of Object.entries(page.headers)) {
      if (value !== undefined && !OF_THE_CONNECTION.includes(name)) reply.header(name, value);
    }
    return reply.code(page.statusCode).send(page.rawPayload);
  }

  for (const url of ['/docs', '/docs/*']) app.route({ method: 'GET', url, handler: answer });
}

/** The pages as a server that listens nowhere and is asked from here alone. */
async function makePages(document: object): Promise<FastifyInstance> {
  const [{ default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ]);
  const app = fastify();
  await app.register(swagger, { mode: 'static', specification: { document: document as Document } });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // The bar would only show another project's mark and a field for other documents.
    theme: { title: 'Lessor API', css: [{ filename: 'lessor.css', content: '.swagger-ui .topbar { display: none }' }] },
    uiConfig: { docExpansion: 'list', tryItOutEnabled: true },
  });
  await app.ready();
  return app;
}
