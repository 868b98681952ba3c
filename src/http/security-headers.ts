import helmet from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';

/**
 * Browsers may load what this server serves and nothing else, and run no inline script. For the pages that
 * people open: the API's own replies are JSON, which `nosniff` keeps from being taken for anything else.
 *
 * No Strict-Transport-Security and no upgrade to HTTPS: whoever terminates TLS in front of the broker decides that.
 */
export async function protectPages(app: FastifyInstance): Promise<void> {
  await app.register(helmet, {
    strictTransportSecurity: false,
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        fontSrc: ["'self'"],
        connectSrc: ["'self'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
  });
}
