import swagger, { type FastifyStaticSwaggerOptions } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';

type Document = Extract<FastifyStaticSwaggerOptions['specification'], { document: unknown }>['document'];

/** Serves the API's document for browsers at `/docs`. */
export async function serveDocs(app: FastifyInstance, document: object): Promise<void> {
  await app.register(swagger, { mode: 'static', specification: { document: document as Document } });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // The bar would only show another project's mark and a field for other documents.
    theme: { title: 'Lessor API', css: [{ filename: 'lessor.css', content: '.swagger-ui .topbar { display: none }' }] },
    uiConfig: { docExpansion: 'list', tryItOutEnabled: true },
  });
}
