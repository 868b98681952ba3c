import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { after, describe, it } from 'node:test';
import { startReverseProxy } from '../support/reverse-proxy.ts';
import { until } from '../support/until.ts';

interface Backend {
  port: number;
  ready: boolean;
  closes: boolean;
  served: number;
}

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** Says whether it is ready, and counts what else it is asked. */
async function startBackend(ready = true): Promise<Backend> {
  const backend = { port: 0, ready, closes: false, served: 0 };
  const server = createServer((request, reply) => {
    if (request.url === '/readyz') {
      reply.writeHead(backend.ready ? 200 : 503, { connection: 'close' }).end();
      return;
    }
    backend.served++;
    if (backend.closes) reply.setHeader('connection', 'close');
    reply.end(String(backend.port));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address !== null && typeof address === 'object') backend.port = address.port;
  return backend;
}

describe('the proxy in front of brokers that are restarted', () => {
  it('passes requests on in turn, and to none that is not ready', async () => {
    const [one, two, three] = [await startBackend(), await startBackend(), await startBackend(false)];
    const proxy = await startReverseProxy([one.port, two.port, three.port]);
    for (let call = 0; call < 10; call++) assert.equal((await fetch(proxy.url)).status, 200);
    assert.deepEqual([one.served, two.served, three.served], [5, 5, 0]);
    await proxy.stop();
  });

  it('uses none again that has answered Connection: close, until that is ready anew', async () => {
    const [one, two] = [await startBackend(), await startBackend()];
    const proxy = await startReverseProxy([one.port, two.port]);
    one.closes = true;
    one.ready = false;
    for (let call = 0; call < 10; call++) assert.equal((await fetch(proxy.url)).status, 200);
    assert.ok(one.served <= 1, String(one.served));
    one.closes = false;
    one.ready = true;
    await until(async () => Number(await (await fetch(proxy.url)).text()) === one.port);
    await proxy.stop();
  });

  it('has a request wait for a backend while none is ready', async () => {
    const one = await startBackend(false);
    const proxy = await startReverseProxy([one.port]);
    const asked = fetch(proxy.url);
    one.ready = true;
    assert.equal((await asked).status, 200);
    assert.equal(one.served, 1);
    await proxy.stop();
  });
});
