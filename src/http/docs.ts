import swagger, { type FastifyStaticSwaggerOptions } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';

type Document = Extract<FastifyStaticSwaggerOptions['specification'], { document: unknown }>['document'];

/** Serves the API's document for browsers at `/docs`. */
export async function serveDocs(app: FastifyInstance, document: object): Promise<void> {
  await app.register(swagger, { mode: 'static', specification: { document: document as Document } });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    theme: { title: 'Lessor API' },
    uiConfig: { docExpansion: 'list', tryItOutEnabled: true },
  });
}
