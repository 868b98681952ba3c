import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

interface Reply {
  status: number;
  connection: string | undefined;
  body: string;
}

/** One call over the agent's connection; throws what Node.js throws. */
async function call(url: string, options: { agent: Agent; method?: string; body?: unknown }): Promise<Reply> {
  const { agent, method = 'GET', body } = options;
  const outgoing = request(url, { agent, method, headers: body ? { 'content-type': 'application/json' } : {} });
  outgoing.end(body ? JSON.stringify(body) : undefined);
  const [reply] = (await once(outgoing, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of reply.setEncoding('utf8')) text += chunk;
  return { status: reply.statusCode ?? 0, connection: reply.headers.connection, body: text };
}

describe('a broker that is told to stop', () => {
  const folder = temporaryFolder();
  const agents: Agent[] = [];
  let lessor: LessorProcess;

  const keepAlive = (): Agent => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    agents.push(agent);
    return agent;
  };

  beforeEach(async () => {
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_SHUTDOWN_MS: '5000' } });
  });

  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.destroy();
    if (lessor.pid !== 0) await lessor.stop();
  });

  after(() => folder.remove());

  const refused = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(lessor.port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(false);
      });
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
    });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`fails no call over a connection that is in use: ${signal}`, async () => {
      const failures: unknown[] = [];
      let served = 0;
      let closed = 0;
      const hammer = async (): Promise<void> => {
        const agent = keepAlive();
        for (;;) {
          try {
            const body = { queue: 'drain', payload: served };
            const reply = await call(`${lessor.url}/tasks`, { agent, method: 'POST', body });
            if (reply.status !== 201) failures.push(reply);
            served++;
            if (reply.connection === 'close') closed++;
          } catch (error) {
            // A new connection, after the last one was closed by its reply.
            if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED') return;
            failures.push(error);
            return;
          }
        }
      };
      const hammers = Array.from({ length: 16 }, hammer);
      await until(() => served > 200);
      lessor.signal(signal);
      await Promise.all(hammers);
      assert.deepEqual(failures, []);
      assert.equal(closed, 16);
      const { code, stderr } = await lessor.ended;
      assert.equal(code, 0, stderr);
    });
  }

  it('serves every connection that was made before, also those that it had no time to accept', async () => {
    // The system makes the connections of a process that is stopped, and keeps what is sent over them.
    lessor.signal('SIGSTOP');
    const calls = Array.from({ length: 64 }, () => {
      const outgoing = request(`${lessor.url}/livez`, { agent: new Agent() });
      outgoing.end();
      return { sent: once(outgoing, 'finish'), replied: once(outgoing, 'response') };
    });
    await Promise.all(calls.map(({ sent }) => sent));
    lessor.signal('SIGTERM');
    lessor.signal('SIGCONT');
    for (const { replied } of calls) {
      const [reply] = (await replied) as [IncomingMessage];
      assert.equal(reply.statusCode, 200);
      reply.resume();
    }
    assert.equal((await lessor.ended).code, 0);
  });

  it('answers parked polls with an empty list at once', async () => {
    const polls = Array.from({ length: 5 }, () =>
      call(`${lessor.url}/tasks/lease?queue=parked&waitMs=60000`, { agent: keepAlive() }),
    );
    const agent = keepAlive();
    await until(async () => {
      const { body } = await call(`${lessor.url}/queues/parked/stats`, { agent });
      return JSON.parse(body).waiters === 5;
    });
    const start = performance.now();
    lessor.signal('SIGTERM');
    for (const { status, connection, body } of await Promise.all(polls)) {
      assert.equal(status, 200);
      assert.equal(connection, 'close');
      assert.deepEqual(JSON.parse(body), { tasks: [] });
    }
    assert.ok(performance.now() - start < 2500);
    assert.equal((await lessor.ended).code, 0);
  });

  it('fails /readyz, accepts no new connections, and serves what is asked over the old ones', async () => {
    const [probe, worker, producer] = [keepAlive(), keepAlive(), keepAlive()];
    for (const agent of [probe, worker, producer]) await call(`${lessor.url}/livez`, { agent });
    lessor.signal('SIGTERM');
    await until(refused);
    const readiness = await call(`${lessor.url}/readyz`, { agent: probe });
    assert.equal(readiness.status, 503);
    assert.equal(readiness.connection, 'close');
    const enqueued = await call(`${lessor.url}/tasks`, { agent: producer, method: 'POST', body: { queue: 'late' } });
    assert.equal(enqueued.status, 201);
    assert.equal(enqueued.connection, 'close');
    const polled = await call(`${lessor.url}/tasks/lease?queue=empty&waitMs=60000`, { agent: worker });
    assert.equal(polled.status, 200);
    assert.deepEqual(JSON.parse(polled.body), { tasks: [] });
    assert.equal((await lessor.ended).code, 0);
  });

  it('closes idle connections after a moment, and those on which nothing was sent, and ends', async () => {
    const agent = keepAlive();
    await call(`${lessor.url}/livez`, { agent });
    const silent = connect(lessor.port, '127.0.0.1');
    await once(silent, 'connect');
    const start = performance.now();
    lessor.signal('SIGTERM');
    const { code } = await lessor.ended;
    assert.equal(code, 0);
    assert.ok(performance.now() - start > 400);
    assert.ok(performance.now() - start < 3000);
  });

  it('waits for a request that is still being sent, and answers it', async () => {
    const body = JSON.stringify({ queue: 'slow', payload: 'x' });
    const socket = connect(lessor.port, '127.0.0.1');
    socket.write(
      `POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.slice(0, 5));
    await until(refusesAfterSignal());
    socket.write(body.slice(5));
    let reply = '';
    for await (const chunk of socket.setEncoding('utf8')) reply += chunk;
    assert.match(reply, /^HTTP\/1\.1 201 /);
    assert.match(reply, /\r\nconnection: close\r\n/i);
    assert.equal((await lessor.ended).code, 0);
  });

  /** A condition that sends SIGTERM once the broker has got all that was sent so far, and holds when it drains. */
  function refusesAfterSignal(): () => Promise<boolean> {
    let sent = false;
    return async () => {
      if (!sent) {
        // Two requests on later connections are answered only after earlier bytes have been read.
        for (let i = 0; i < 2; i++) await call(`${lessor.url}/livez`, { agent: new Agent() });
        lessor.signal('SIGTERM');
        sent = true;
      }
      return refused();
    };
  }

  it('takes two SIGINT at the same time for one, because npm repeats the Ctrl-C of its terminal', async () => {
    lessor.signal('SIGINT');
    lessor.signal('SIGINT');
    const { code } = await lessor.ended;
    assert.equal(code, 0);
  });

  it('stops at once at a second signal, with code 1', async () => {
    const socket = connect(lessor.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n');
    await until(refusesAfterSignal());
    const start = performance.now();
    lessor.signal('SIGTERM');
    const { code, stderr } = await lessor.ended;
    assert.equal(code, 1);
    assert.ok(performance.now() - start < 2500);
    assert.match(stderr, /\nlessor: stopped at once by a second signal \(SIGTERM\)[^\n]+\n$/);
  });

  it('stops hard when requests take longer than LESSOR_SHUTDOWN_MS, with one line and code 1', async () => {
    await lessor.stop();
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_SHUTDOWN_MS: '1500' } });
    const socket = connect(lessor.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n');
    await until(refusesAfterSignal());
    const { code, stderr } = await lessor.ended;
    assert.equal(code, 1);
    assert.match(
      stderr,
      /\nlessor: stopped hard: not drained 1500 ms after SIGTERM \(LESSOR_SHUTDOWN_MS\), 1 connections[^\n]+\n$/,
    );
  });
});
