import { createServer, isIPv6, type Server } from 'node:net';

/** Connections that may wait to be accepted: after a restart, thousands of workers come back at once. */
const BACKLOG = 4096;

/** Why the broker cannot listen; the message is the one line that an operator needs. */
export class AddressRefusal extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AddressRefusal';
  }
}

/**
 * Finds out whether the address is free by listening on it for an instant, so that a start that is bound to
 * fail leaves no data behind.
 * @throws AddressRefusal
 */
export async function checkAddress(host: string, port: number): Promise<void> {
  const probe = createServer((socket) => socket.destroy());
  await bind(probe, host, port);
  await new Promise<void>((resolve) => {
    probe.close(() => resolve());
  });
}

/**
 * Listens.
 * @returns the base URL under which this machine reaches the server
 * @throws AddressRefusal
 */
export async function bind(server: Server, host: string, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void =>
      reject(new AddressRefusal(advice(error, host, port), { cause: error }));
    server.once('error', fail);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.off('error', fail);
      resolve();
    });
  });
  const address = server.address();
  const bound = address !== null && typeof address === 'object' ? address.port : port;
  return urlOf(host, bound);
}

/** The base URL under which this machine reaches a server that listens there. */
export function urlOf(host: string, port: number): string {
  return `http://${urlHost(host)}:${port}`;
}

/** A wildcard is no address to connect to: this machine is reached under its loopback address. */
function urlHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (!isIPv6(host)) return host;
  return /^[0:]+$/.test(host) ? '[::1]' : `[${host}]`;
}

function advice(error: NodeJS.ErrnoException, host: string, port: number): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `port ${port} on ${host} is taken: stop what listens there, or choose another port with LESSOR_PORT or --port`;
    case 'EADDRNOTAVAIL':
      return `${host} is no address of this machine: choose one that is with LESSOR_HOST or --host`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host name ${host} cannot be resolved: give an IP address with LESSOR_HOST or --host`;
    case 'EACCES':
    case 'EPERM':
      return `this user may not listen on port ${port}: choose one above 1023 with LESSOR_PORT or --port`;
    default:
      return `cannot listen on ${host}, port ${port} (${error.code ?? error.message}): choose others with LESSOR_HOST and LESSOR_PORT`;
  }
}
