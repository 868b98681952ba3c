import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { bind } from '../../src/startup/address.ts';
import { Connections } from '../../src/startup/connections.ts';
import { until } from '../support/until.ts';

const LONG_MS = 60_000;

describe('a server that stops', () => {
  const servers: Server[] = [];
  const agents: Agent[] = [];

  afterEach(() => {
    for (const server of servers.splice(0)) server.closeAllConnections();
    for (const agent of agents.splice(0)) agent.destroy();
  });

  async function serve(
    handler: (request: IncomingMessage, reply: ServerResponse) => void = (_request, reply) => reply.end('ok'),
  ): Promise<{ connections: Connections; port: number }> {
    const server = createServer(handler);
    servers.push(server);
    const connections = new Connections(server);
    return { connections, port: Number(new URL(await bind(server, '127.0.0.1', 0)).port) };
  }

  function keepAlive(): Agent {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    agents.push(agent);
    return agent;
  }

  async function get(port: number, agent: Agent): Promise<{ connection: string | undefined; reused: boolean }> {
    const outgoing = request({ port, host: '127.0.0.1', agent }).end();
    const [reply] = (await once(outgoing, 'response')) as [IncomingMessage];
    reply.resume();
    await once(reply, 'end');
    return { connection: reply.headers.connection, reused: outgoing.reusedSocket };
  }

  async function opened(port: number): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  }

  it('refuses new connections and serves one more request on those that are idle, with Connection: close', async () => {
    const { connections, port } = await serve();
    const agent = keepAlive();
    assert.equal((await get(port, agent)).connection, 'keep-alive');
    await connections.stopListening();
    connections.refuseReuse();
    const empty = connections.empty(LONG_MS);
    await assert.rejects(opened(port), { code: 'ECONNREFUSED' });
    assert.deepEqual(await get(port, agent), { connection: 'close', reused: true });
    await empty;
  });

  it('says Connection: close in replies to requests that were under way before', async () => {
    const replies: ServerResponse[] = [];
    const { connections, port } = await serve((_request, reply) => replies.push(reply));
    const answered = get(port, keepAlive());
    const [reply] = await until(() => (replies.length > 0 ? replies : null));
    await connections.stopListening();
    connections.refuseReuse();
    const empty = connections.empty(0);
    reply?.end('late');
    assert.equal((await answered).connection, 'close');
    await empty;
  });

  it('keeps an idle connection for the grace time, then closes it', async () => {
    const { connections, port } = await serve();
    const agent = keepAlive();
    await get(port, agent);
    const [socket] = Object.values(agent.freeSockets)[0] ?? [];
    assert.ok(socket);
    const closed = once(socket, 'close');
    await connections.stopListening();
    connections.refuseReuse();
    const start = performance.now();
    await connections.empty(300);
    assert.ok(performance.now() - start >= 299);
    await closed;
  });

  it('closes a connection on which nothing was ever sent', async () => {
    const { connections, port } = await serve();
    const socket = await opened(port);
    const closed = once(socket, 'close');
    await connections.stopListening();
    connections.refuseReuse();
    await connections.empty(50);
    await closed;
  });

  it('waits for a request that has only begun to arrive when it closes the idle connections', async () => {
    const { connections, port } = await serve();
    const arriving: Socket[] = [];
    servers.at(-1)?.once('connection', (socket) => arriving.push(socket));
    const socket = await opened(port);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n');
    await until(() => arriving.some(({ bytesRead }) => bytesRead > 0));
    const idle = await opened(port);
    const closed = once(idle, 'close');
    await connections.stopListening();
    connections.refuseReuse();
    const empty = connections.empty(50);
    await closed;
    socket.end('\r\n');
    const [reply] = await once(socket, 'data');
    assert.match(String(reply), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n/i);
    await empty;
  });

  it('ends at once when there are no connections', async () => {
    const { connections } = await serve();
    await connections.stopListening();
    connections.refuseReuse();
    await connections.empty(LONG_MS);
  });
});
