import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';

export interface ReverseProxy {
  url: string;
  stop(): Promise<void>;
}

interface Backend {
  port: number;
  agent: Agent;
  ready: boolean;
}

/** How often a backend is asked whether it is ready. */
const LOOK_MS = 20;
/** A request waits this long for one that is ready, as in the queue of any such proxy. */
const QUEUE_MS = 3000;

/**
 * A keep-alive HTTP proxy on loopback, in front of brokers that come and go: it passes a request to one that says it is ready,
 * in turn, and to none that is about to stop: not after its `/readyz` failed, nor after it answered `Connection: close`. What could not
 * be sent at all goes to the next one, and waits a moment when there is none; nothing that was sent is sent twice.
 */
export async function startReverseProxy(ports: readonly number[]): Promise<ReverseProxy> {
  const backends = ports.map((port): Backend => ({ port, agent: keepAlive(), ready: false }));
  let turn = 0;

  const pass = (incoming: IncomingMessage, outgoing: ServerResponse, body: Buffer, until: number): void => {
    if (outgoing.destroyed) return;
    const ready = backends.filter((backend) => backend.ready);
    const backend = ready[turn++ % ready.length];
    if (backend === undefined && performance.now() < until) {
      setTimeout(() => pass(incoming, outgoing, body, until), LOOK_MS);
      return;
    }
    if (backend === undefined) {
      outgoing.writeHead(502).end('{"code":"no_backend"}');
      return;
    }
    const { method = 'GET', url = '/', headers } = incoming;
    const { connection: _, ...kept } = headers;
    const sent = request({
      host: '127.0.0.1',
      port: backend.port,
      method,
      path: url,
      headers: kept,
      agent: backend.agent,
    });
    const gone = (): void => {
      if (!outgoing.writableFinished) sent.destroy();
    };
    outgoing.once('close', gone);
    sent.once('error', (error: NodeJS.ErrnoException) => {
      outgoing.off('close', gone);
      if (outgoing.destroyed) return;
      if (error.code === 'ECONNREFUSED') {
        backend.ready = false;
        pass(incoming, outgoing, body, until);
      } else outgoing.destroy();
    });
    sent.once('response', (reply) => {
      const { connection, 'keep-alive': _keepAlive, ...rest } = reply.headers;
      if (connection === 'close') backend.ready = false;
      outgoing.writeHead(reply.statusCode ?? 502, rest);
      reply.once('error', () => outgoing.destroy());
      reply.pipe(outgoing);
    });
    sent.end(body);
  };

  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    const pieces: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('end', () => pass(incoming, outgoing, Buffer.concat(pieces), performance.now() + QUEUE_MS));
  });
  for (const backend of backends) backend.ready = await isReady(backend.port);
  let stopped = false;
  const looking = backends.map((backend) => watch(backend, () => stopped));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async stop() {
      stopped = true;
      server.closeAllConnections();
      await Promise.all([...looking, new Promise<void>((resolve) => server.close(() => resolve()))]);
      for (const { agent } of backends) agent.destroy();
    },
  };
}

function keepAlive(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 256 });
}

/** Asks the backend whether it is ready, again and again. One that becomes ready again gets connections of its own. */
async function watch(backend: Backend, stopped: () => boolean): Promise<void> {
  while (!stopped()) {
    const ready = await isReady(backend.port);
    if (!ready && backend.ready) {
      // What is idle is not used again; what is under way is answered.
      const { agent } = backend;
      for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
      backend.agent = keepAlive();
    }
    backend.ready = ready;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, path: '/readyz', agent: false, timeout: 2000 }, (reply) => {
      reply.resume();
      resolve(reply.statusCode === 200);
    });
    asked.once('error', () => resolve(false));
    asked.once('timeout', () => asked.destroy());
    asked.end();
  });
}
