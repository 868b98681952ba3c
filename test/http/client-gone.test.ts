import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { HeldForClient } from '../../src/http/client-gone.ts';
import { until } from '../support/until.ts';

const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';

/** Something held, and what became of it. */
interface Watched {
  client: HeldForClient<string>;
  response: ServerResponse;
  fate: string[];
}

describe('what is held for a client', () => {
  let watched: Watched[] = [];
  let sockets = 0;
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      const fate: string[] = [];
      const client = new HeldForClient<string>(response, {
        delivered: (held) => fate.push(`${held} delivered`),
        giveBack: (held) => fate.push(`${held} given back`),
      });
      watched.push({ client, response, fate });
    });
  });
  server.on('connection', (socket: Socket) => {
    sockets++;
    socket.once('close', () => sockets--);
  });
  before(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => server.close());
  beforeEach(() => {
    watched = [];
  });

  /** A client that has sent this; and what the server holds for its requests. */
  async function client(text: string, requests = 1): Promise<{ socket: Socket; held: Watched[] }> {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(text);
    await until(() => watched.length === requests, { what: 'the requests have arrived' });
    return { socket, held: watched };
  }

  async function noSocket(): Promise<void> {
    await until(() => sockets === 0, { what: 'the server has noticed that the connection ended' });
  }

  for (const [name, text] of [
    ['GET', GET],
    ['POST', POST],
  ] as const) {
    test(`${name}: is delivered when the reply was written, and stays so`, async () => {
      const { socket, held } = await client(text);
      const [one] = held;
      assert.ok(one);
      one.client.hold('it');
      assert.deepEqual(one.fate, []);
      one.response.end('reply');
      await once(socket, 'data');
      assert.deepEqual(one.fate, ['it delivered']);
      socket.resetAndDestroy();
      await noSocket();
      assert.deepEqual(one.fate, ['it delivered']);
      assert.equal(one.client.signal.aborted, false);
    });

    test(`${name}: is given back when the client goes first`, async () => {
      const { socket, held } = await client(text);
      const [one] = held;
      assert.ok(one);
      one.client.hold('it');
      socket.destroy();
      await noSocket();
      assert.deepEqual(one.fate, ['it given back']);
      assert.equal(one.client.signal.aborted, true);
    });

    test(`${name}: is given back at once when the client had gone before`, async () => {
      const { socket, held } = await client(text);
      const [one] = held;
      assert.ok(one);
      socket.destroy();
      await noSocket();
      assert.deepEqual(one.fate, []);
      assert.equal(one.client.signal.aborted, true);
      one.client.hold('it');
      assert.deepEqual(one.fate, ['it given back']);
      one.response.end('nobody reads this');
      assert.deepEqual(one.fate, ['it given back']);
    });
  }

  test('is given back when the client resets the connection just before the reply is written', async () => {
    const { socket, held } = await client(GET);
    const [one] = held;
    assert.ok(one);
    one.client.hold('it');
    socket.resetAndDestroy();
    // The reset has arrived, but the server has not seen it yet.
    one.response.end('reply');
    await noSocket();
    assert.deepEqual(one.fate, ['it given back']);
  });

  test('is given back when the client ends its side first: a socket that was closed looks the same', async () => {
    const { socket, held } = await client(GET);
    const [one] = held;
    assert.ok(one);
    one.client.hold('it');
    socket.end();
    await noSocket();
    assert.deepEqual(one.fate, ['it given back']);
  });

  test('of pipelined requests each has a fate of its own', async () => {
    const { socket, held } = await client(GET + POST + GET, 3);
    for (const [index, { client: holder }] of held.entries()) holder.hold(`held ${index}`);
    held[0]?.response.end('first');
    await once(socket, 'data');
    // Behind the second one's, which is not there yet.
    held[2]?.response.end('third');
    socket.resetAndDestroy();
    await noSocket();
    assert.deepEqual(
      held.map(({ fate }) => fate),
      [['held 0 delivered'], ['held 1 given back'], ['held 2 given back']],
    );
  });

  test('a client that had gone before anybody looked is gone', async () => {
    const { socket, held } = await client(GET);
    const [one] = held;
    assert.ok(one);
    socket.destroy();
    await noSocket();
    const late = new HeldForClient<string>(one.response, { delivered: () => {}, giveBack: () => {} });
    assert.equal(late.signal.aborted, true);
  });
});
