import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { until } from '../support/until.ts';
import { type Body, onEveryStore } from './api-app.ts';

interface Asked {
  queue: string;
  waitMs: number;
  max?: number;
  requestId?: string;
}

const METHODS = ['GET', 'POST'] as const;
type Method = (typeof METHODS)[number];

/** A lease call as it travels. */
function requestOf(method: Method, asked: Asked): string {
  if (method === 'GET') {
    const query = new URLSearchParams(Object.entries(asked).map(([name, value]) => [name, String(value)]));
    return `GET /tasks/lease?${query.toString()} HTTP/1.1\r\nHost: x\r\n\r\n`;
  }
  const body = JSON.stringify(asked);
  const head = `Host: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `POST /tasks/lease HTTP/1.1\r\n${head}\r\n\r\n${body}`;
}

/** A client's own end of a connection, and what has come over it. */
class Client {
  readonly socket: Socket;
  received = '';
  ended = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (piece) => (this.received += String(piece)));
    socket.on('end', () => (this.ended = true));
    socket.on('error', () => {});
  }

  static async to(port: number): Promise<Client> {
    // Half-open: the server's end is noticed, but this side is closed by the test alone.
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    return new Client(socket);
  }

  /** Bodies of the replies that have come, whole ones only. */
  replies(): { tasks: Body[] }[] {
    return [...this.received.matchAll(/\r\ncontent-length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n/gi)].flatMap((head) => {
      const start = head.index + head[0].length;
      const body = this.received.slice(start, start + Number(head[1]));
      return body.length === Number(head[1]) ? [JSON.parse(body) as { tasks: Body[] }] : [];
    });
  }
}

/** The ways in which a client goes. */
const GOINGS: Record<string, (socket: Socket) => void> = {
  'closes its connection': (socket) => void socket.destroy(),
  'resets its connection': (socket) => void socket.resetAndDestroy(),
  'ends its side and reads on': (socket) => void socket.end(),
};

describe('clients that go away', () => {
  onEveryStore((app) => {
    async function gone(): Promise<void> {
      await until(() => app().connections === 0, { what: 'the server has noticed that all have gone' });
      await app().watch.quiet();
    }

    /** All tasks of the queue are ready as if nobody had ever asked, and in their order. */
    async function assertUnharmed(queue: string, ids: string[]): Promise<void> {
      assert.equal(app().broker.waiters(queue), 0);
      const listed = await app().get(`/tasks?queue=${queue}`);
      for (const task of listed.body.tasks) assert.deepEqual([task.state, task.attempt], ['ready', 0]);
      const tasks = await app().lease(queue, '&max=100');
      assert.deepEqual(
        tasks.map(({ id, attempt }) => [id, attempt]),
        ids.map((id) => [id, 1]),
      );
    }

    async function tasksIn(queue: string, count: number): Promise<string[]> {
      const ids: string[] = [];
      while (ids.length < count) ids.push((await app().enqueue({ queue })).id);
      return ids;
    }

    async function parked(queue: string, polls: number): Promise<void> {
      await until(() => app().broker.waiters(queue) === polls, { what: 'the polls wait' });
      await app().watch.quiet();
    }

    for (const [how, go] of Object.entries(GOINGS)) {
      for (const method of METHODS) {
        test(`${method}, parked: one that ${how} leases nothing`, async () => {
          const queue = app().newQueue();
          const { socket } = await Client.to(app().port);
          socket.write(requestOf(method, { queue, waitMs: 60_000 }));
          await parked(queue, 1);
          go(socket);
          await until(() => app().broker.waiters(queue) === 0, { what: 'it has left the line' });
          const ids = await tasksIn(queue, 2);
          await gone();
          await assertUnharmed(queue, ids);
        });

        test(`${method}, while the store is asked: one that ${how} gives back what it was granted`, async () => {
          for (const waitMs of [0, 60_000]) {
            const queue = app().newQueue();
            const ids = await tasksIn(queue, 3);
            const hold = app().watch.hold('reply', 'lease');
            const { socket } = await Client.to(app().port);
            socket.write(requestOf(method, { queue, waitMs, max: 2 }));
            await until(() => hold.held === 1, { what: 'two tasks have been granted' });
            go(socket);
            await until(() => app().connections === 0, { what: 'the server has noticed' });
            hold.release();
            await gone();
            await assertUnharmed(queue, ids);
          }
        });

        test(`${method}, parked, while a task is granted: one that ${how} gives it back`, async () => {
          const queue = app().newQueue();
          const { socket } = await Client.to(app().port);
          socket.write(requestOf(method, { queue, waitMs: 60_000 }));
          await parked(queue, 1);
          const hold = app().watch.hold('reply', 'lease');
          const ids = await tasksIn(queue, 2);
          await until(() => hold.held === 1, { what: 'a task has been granted' });
          go(socket);
          await until(() => app().connections === 0, { what: 'the server has noticed' });
          hold.release();
          await gone();
          await assertUnharmed(queue, ids);
        });

        test(`${method}, while it is looked up what it had: one that ${how} leases nothing`, async () => {
          const queue = app().newQueue();
          const ids = await tasksIn(queue, 2);
          const hold = app().watch.hold('reply', 'recall');
          const { socket } = await Client.to(app().port);
          socket.write(requestOf(method, { queue, waitMs: 60_000, requestId: 'r' }));
          await until(() => hold.held === 1);
          go(socket);
          await until(() => app().connections === 0, { what: 'the server has noticed' });
          hold.release();
          await gone();
          await assertUnharmed(queue, ids);
        });

        test(`${method}, sent in part: one that ${how} leases nothing`, async () => {
          const queue = app().newQueue();
          const ids = await tasksIn(queue, 1);
          const text = requestOf(method, { queue, waitMs: 0 });
          for (const length of [10, text.indexOf('\r\n\r\n') + 2, text.length - 1]) {
            const { socket } = await Client.to(app().port);
            socket.write(text.slice(0, length));
            await until(() => app().connections === 1, { what: 'the connection is there' });
            go(socket);
            await gone();
            // A side of its own that the client ended leaves the other one to be closed.
            socket.destroy();
          }
          await assertUnharmed(queue, ids);
        });

        test(`${method}, in the instant in which it asks: of one that ${how} nothing is lost`, async () => {
          const queue = app().newQueue();
          await tasksIn(queue, 5);
          for (let count = 0; count < 5; count++) {
            const client = await Client.to(app().port);
            const before = app().taken.leases;
            client.socket.write(requestOf(method, { queue, waitMs: 0 }), () => go(client.socket));
            await gone();
            const told = client.replies().flatMap(({ tasks }) => tasks);
            const leased = (await app().get(`/tasks?queue=${queue}&state=leased`)).body.tasks;
            if (app().taken.leases === before) assert.equal(leased.length, 0, 'what was not read is not served');
            // A reply that was handed over counts as written; what was not written was given back.
            assert.ok(
              leased.length >= told.length && leased.length <= 1,
              `${leased.length} leased, ${told.length} told`,
            );
            for (const { id } of told) assert.ok(leased.some((task) => task.id === id));
            for (const task of leased) await app().post(`/tasks/${task.id}/cancel`, { force: true });
            const ready = (await app().get(`/tasks?queue=${queue}&state=ready`)).body.tasks;
            for (const task of ready) assert.equal(task.attempt, 0);
          }
        });
      }
    }

    for (const method of METHODS) {
      test(`${method}: a half-closed connection is as good as closed: nothing is leased, and the server closes it`, async () => {
        const queue = app().newQueue();
        const client = await Client.to(app().port);
        client.socket.write(requestOf(method, { queue, waitMs: 60_000 }));
        await parked(queue, 1);
        client.socket.end();
        await until(() => client.ended, { what: 'the server has closed it too' });
        assert.equal(client.received, '');
        const ids = await tasksIn(queue, 1);
        await gone();
        await assertUnharmed(queue, ids);
      });

      test(`${method}: over a kept-alive connection, what was delivered stays leased, what was not is given back`, async () => {
        const queue = app().newQueue();
        const [first = '', second = ''] = await tasksIn(queue, 2);
        const client = await Client.to(app().port);
        client.socket.write(requestOf(method, { queue, waitMs: 60_000 }));
        await until(() => client.replies().length === 1, { what: 'the first reply has come' });
        const hold = app().watch.hold('reply', 'lease');
        client.socket.write(requestOf(method, { queue, waitMs: 60_000 }));
        await until(() => hold.held === 1, { what: 'the second task has been granted' });
        client.socket.destroy();
        await until(() => app().connections === 0, { what: 'the server has noticed' });
        hold.release();
        await gone();
        const [told] = client.replies()[0]?.tasks ?? [];
        assert.equal(told?.id, first);
        assert.equal((await app().post(`/tasks/${first}/ack`, { leaseToken: told?.lease.token })).status, 200);
        await assertUnharmedButAcked(queue, second);
      });

      test(`${method}: many polls one after another over one connection leave nothing behind`, async () => {
        const queue = app().newQueue();
        const client = await Client.to(app().port);
        for (let count = 1; count <= 20; count++) {
          client.socket.write(requestOf(method, { queue, waitMs: count % 2 }));
          await until(() => client.replies().length === count, { what: 'the reply has come' });
        }
        client.socket.write(requestOf(method, { queue, waitMs: 60_000 }));
        await parked(queue, 1);
        client.socket.resetAndDestroy();
        const ids = await gone().then(() => tasksIn(queue, 1));
        await assertUnharmed(queue, ids);
      });

      test(`${method}: two polls pipelined on one connection that is reset are both given back`, async () => {
        const queue = app().newQueue();
        const client = await Client.to(app().port);
        const text = requestOf(method, { queue, waitMs: 60_000 });
        client.socket.write(text + text);
        await parked(queue, 2);
        const hold = app().watch.hold('reply', 'lease');
        const ids = await tasksIn(queue, 2);
        await until(() => hold.held >= 1);
        client.socket.resetAndDestroy();
        await until(() => app().connections === 0, { what: 'the server has noticed' });
        hold.release();
        await gone();
        await assertUnharmed(queue, ids);
      });

      test(`${method}: a pipelined poll whose reply waits behind another's is given back`, async () => {
        const [empty, queue] = [app().newQueue(), app().newQueue()];
        const ids = await tasksIn(queue, 1);
        const client = await Client.to(app().port);
        client.socket.write(
          requestOf(method, { queue: empty, waitMs: 60_000 }) + requestOf(method, { queue, waitMs: 60_000 }),
        );
        await until(async () => (await app().get(`/queues/${queue}/stats`)).body.leased === 1, {
          what: 'it is leased',
        });
        assert.equal(client.received, '', 'replies come in the order of the requests');
        client.socket.resetAndDestroy();
        await gone();
        await assertUnharmed(queue, ids);
      });

      test(`${method}: pipelined polls are answered in order, and of one that was delivered nothing is given back`, async () => {
        const [one, two] = [app().newQueue(), app().newQueue()];
        const client = await Client.to(app().port);
        client.socket.write(
          requestOf(method, { queue: one, waitMs: 60_000 }) + requestOf(method, { queue: two, waitMs: 60_000 }),
        );
        await parked(two, 1);
        const [second] = await tasksIn(two, 1);
        await until(() => app().broker.waiters(two) === 0);
        const [first] = await tasksIn(one, 1);
        await until(() => client.replies().length === 2, { what: 'both replies have come' });
        assert.deepEqual(
          client.replies().map(({ tasks }) => tasks[0]?.id),
          [first, second],
        );
        client.socket.resetAndDestroy();
        await gone();
        for (const queue of [one, two]) assert.equal((await app().get(`/queues/${queue}/stats`)).body.leased, 1);
      });

      test(`${method}: a proxy that resets its connection has its task given back`, async () => {
        const proxy = await Proxy.to(app().port);
        try {
          const queue = app().newQueue();
          const client = await Client.to(proxy.port);
          client.socket.write(requestOf(method, { queue, waitMs: 60_000 }));
          await parked(queue, 1);
          const hold = app().watch.hold('reply', 'lease');
          const ids = await tasksIn(queue, 2);
          await until(() => hold.held === 1);
          proxy.reset();
          await until(() => app().connections === 0, { what: 'the server has noticed' });
          hold.release();
          await gone();
          await assertUnharmed(queue, ids);
          assert.equal(client.received, '');
        } finally {
          await proxy.stop();
        }
      });
    }

    test('GET and POST pipelined together, the client gone half-way: each has what it was told', async () => {
      const queue = app().newQueue();
      const client = await Client.to(app().port);
      client.socket.write(
        requestOf('GET', { queue, waitMs: 60_000 }) +
          requestOf('POST', { queue, waitMs: 60_000 }) +
          requestOf('GET', { queue, waitMs: 60_000 }),
      );
      await parked(queue, 3);
      const [first = '', ...rest] = await tasksIn(queue, 1);
      await until(() => client.replies().length === 1, { what: 'the first reply has come' });
      const hold = app().watch.hold('reply', 'lease');
      rest.push(...(await tasksIn(queue, 2)));
      await until(() => hold.held >= 1);
      client.socket.resetAndDestroy();
      await until(() => app().connections === 0, { what: 'the server has noticed' });
      hold.release();
      await gone();
      const told = client.replies()[0]?.tasks[0];
      assert.equal(told?.id, first);
      assert.equal((await app().post(`/tasks/${first}/ack`, { leaseToken: told.lease.token })).status, 200);
      const tasks = await app().lease(queue, '&max=10');
      assert.deepEqual(
        tasks.map(({ id, attempt }) => [id, attempt]),
        rest.map((id) => [id, 1]),
      );
    });

    /** The one task that is left is ready, unharmed. */
    async function assertUnharmedButAcked(queue: string, id: string): Promise<void> {
      const [task] = await app().lease(queue, '&max=10');
      assert.deepEqual([task.id, task.attempt], [id, 1]);
      const { leased, completed } = (await app().get(`/queues/${queue}/stats`)).body;
      assert.deepEqual([leased, completed], [1, 1]);
    }
  });
});

/** A proxy that passes everything on until it resets its connections to the server. */
class Proxy {
  readonly port: number;
  readonly #targets = new Set<Socket>();
  readonly #stop: () => Promise<void>;

  private constructor(port: number, targets: Set<Socket>, stop: () => Promise<void>) {
    this.port = port;
    this.#targets = targets;
    this.#stop = stop;
  }

  static async to(target: number): Promise<Proxy> {
    const targets = new Set<Socket>();
    const server = createServer((client) => {
      const socket = connect(target, '127.0.0.1');
      targets.add(socket);
      socket.on('error', () => {}).on('close', () => client.destroy());
      client.on('error', () => {}).on('close', () => socket.destroy());
      client.pipe(socket).pipe(client);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Proxy((server.address() as AddressInfo).port, targets, async () => {
      for (const socket of targets) socket.destroy();
      server.close();
      await once(server, 'close');
    });
  }

  reset(): void {
    for (const socket of this.#targets) socket.resetAndDestroy();
  }

  stop(): Promise<void> {
    return this.#stop();
  }
}
