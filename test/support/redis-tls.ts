import { Redis } from 'ioredis';
import { type Certificates, makeCertificates } from './certificates.ts';
import { freePort } from './free-port.ts';
import { type RedisServer, startRedis } from './redis-server.ts';

/** A redis-server that speaks TLS on a port of its own, beside the plain one that tests look at it through. */
export interface TlsRedis {
  readonly server: RedisServer;
  readonly certificates: Certificates;
  /** Where it speaks TLS. */
  readonly port: number;
  /** Whether clients have to show a certificate; they need not at first. */
  demandCertificates(demanded: boolean): Promise<void>;
  stop(): Promise<void>;
}

const PORT_TRIES = 5;

export async function startTlsRedis(): Promise<TlsRedis> {
  const certificates = makeCertificates();
  const { ca, server: own } = certificates;
  const server = await startRedis({
    args: [
      ...['--tls-cert-file', own.cert.path, '--tls-key-file', own.key.path],
      ...['--tls-ca-cert-file', ca.path, '--tls-auth-clients', 'no'],
    ],
  });
  const admin = new Redis(server.url);
  let port = 0;
  // Another process may take the port between the look and the start.
  for (let tries = 1; port === 0; tries++) {
    const free = await freePort();
    try {
      await admin.config('SET', 'tls-port', free);
      port = free;
    } catch (error) {
      if (tries === PORT_TRIES) throw error;
    }
  }
  return {
    server,
    certificates,
    port,
    async demandCertificates(demanded) {
      await admin.config('SET', 'tls-auth-clients', demanded ? 'yes' : 'no');
    },
    async stop() {
      admin.disconnect();
      await server.stop();
      certificates.remove();
    },
  };
}
