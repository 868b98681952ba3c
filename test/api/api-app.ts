import assert from 'node:assert/strict';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe } from 'node:test';
import { pino } from 'pino';
import { z } from 'zod';
import type { Readiness } from '../../routes/deps.ts';
import { registerRoutes } from '../../routes/index.ts';
import { problemReply } from '../../routes/schemas/problem.ts';
import type { operationReply, redriveReply } from '../../routes/schemas/operation.ts';
import type { purgeReply, queue, queueStats } from '../../routes/schemas/queue.ts';
import type { problemKind, ready } from '../../routes/schemas/service.ts';
import type { extended } from '../../routes/schemas/settle.ts';
import type { leasedTask } from '../../routes/schemas/task.ts';
import type { Broker } from '../../src/broker/broker.ts';
import { createBroker } from '../../src/broker/create-broker.ts';
import { createServer } from '../../src/http/server.ts';
import type { Store } from '../../src/store/store.ts';
import { until } from '../support/until.ts';
import { WatchedStore } from '../broker/watched-store.ts';
import { type OpenStore, STORE_HARNESSES, type StoreHarness } from '../support/stores.ts';
import { type CallOptions, HttpCall, type Reply } from './http-call.ts';

export type { Reply } from './http-call.ts';

export const VERSION = '0.0.0-test';
export const MAX_WAITERS = 50;

type Present<Fields> = { [Name in keyof Fields]-?: NonNullable<Fields[Name]> };
type Wire<Schema extends z.ZodType> = Present<z.output<Schema>>;

/** A list of which a test knows how much is in it. */
type Listed<Item> = [Item, Item, Item, Item, Item, Item, ...Item[]];

/** Whatever replies hold. */
export interface Body
  extends Wire<typeof leasedTask>,
    Wire<typeof queue>,
    Omit<Wire<typeof queueStats>, keyof z.output<typeof queue>>,
    Omit<Wire<typeof extended>, 'lease'>,
    Omit<Wire<typeof problemReply>, 'type'>,
    Wire<typeof problemKind>,
    Wire<typeof purgeReply>,
    Wire<typeof redriveReply>,
    Pick<Wire<typeof operationReply>, 'kind' | 'to'>,
    Pick<Wire<typeof ready>, 'checks' | 'durability'> {
  tasks: Listed<Body>;
  next: Listed<Body>;
  queues: Listed<Body>;
  nextCursor: string | null;
  results: Listed<Body & { task: Body; problem: Body }>;
  failed: number;
  deduplicated: boolean;
  problems: Body[];
  maxPayloadBytes: number;
  maxBodyBytes: number;
  openapi: string;
  info: { version: string };
}

/** What a lease call asks for. */
interface Asked {
  queue: string | string[];
  order?: 'strict' | 'fair';
  max?: number;
  waitMs?: number;
  leaseMs?: number;
  workerId?: string;
  requestId?: string;
}

/** The whole API on a real socket, on a store whose clock only the test moves. */
export class ApiApp {
  readonly store: Store;
  /** Between the broker and the store. */
  readonly watch: WatchedStore;
  readonly broker: Broker;
  /** Calls that the broker has taken, whether they are answered yet or not. */
  readonly taken: { leases: number };
  readonly port: number;
  /** What GET /readyz is told. */
  readonly readiness: { value: Readiness };
  /** Log lines, at warn and above unless a test asks for more. */
  readonly logged: string[];
  readonly #opened: OpenStore;
  readonly #sockets: ReadonlySet<Socket>;
  readonly #close: () => Promise<void>;
  #queues = 0;

  private constructor(
    parts: Pick<ApiApp, 'store' | 'watch' | 'broker' | 'taken' | 'port' | 'readiness' | 'logged'>,
    opened: OpenStore,
    sockets: ReadonlySet<Socket>,
    close: () => Promise<void>,
  ) {
    this.store = parts.store;
    this.watch = parts.watch;
    this.broker = parts.broker;
    this.taken = parts.taken;
    this.port = parts.port;
    this.readiness = parts.readiness;
    this.logged = parts.logged;
    this.#opened = opened;
    this.#sockets = sockets;
    this.#close = close;
  }

  /** @param wrap puts something between the broker and its store, or the routes and the broker */
  static async start(
    harness: StoreHarness,
    wrap: {
      store?: (store: Store) => Store;
      broker?: (broker: Broker) => Broker;
      requestTimeoutMs?: number;
      logLevel?: string;
    } = {},
  ): Promise<ApiApp> {
    const opened = await harness.open();
    const logged: string[] = [];
    const log = pino({ level: wrap.logLevel ?? 'warn' }, { write: (line: string) => void logged.push(line) });
    const store = wrap.store?.(opened.store) ?? opened.store;
    const watch = new WatchedStore(store);
    const made = createBroker(watch.store, { log, maxWaiters: MAX_WAITERS });
    const wrapped = wrap.broker?.(made) ?? made;
    const taken = { leases: 0 };
    const broker: Broker = {
      ...wrapped,
      lease(request) {
        const reply = wrapped.lease(request);
        taken.leases++;
        return reply;
      },
    };
    const server = createServer({
      log,
      ...(wrap.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: wrap.requestTimeoutMs }),
    });
    const readiness: { value: Readiness } = {
      value: { ready: true, checks: [{ name: 'store', ok: true, detail: 'stores and leases' }], durability: 'full' },
    };
    const faults: string[] = [];
    // Serialisers do not check, so that a reply never fails after the work was done; here replies are checked.
    server.addHook('onSend', async (request, reply, payload) => {
      const type = String(reply.getHeader('content-type') ?? '');
      if (!type.includes('json') || request.routeOptions.url?.startsWith('/docs')) return payload;
      const replies = request.routeOptions.schema?.response as Record<number, z.ZodType> | undefined;
      const schema = type.includes('problem+json') ? problemReply : replies?.[reply.statusCode];
      if (!schema) return payload;
      const sent: unknown = JSON.parse(String(payload));
      const seen = schema.safeParse(sent);
      const where = `${request.method} ${request.url} ${reply.statusCode}`;
      if (!seen.success) faults.push(`${where}: ${z.prettifyError(seen.error)}`);
      else if (schema !== problemReply && JSON.stringify(seen.data).length !== JSON.stringify(sent).length) {
        faults.push(`${where}: fields that the schema does not know: ${String(payload)}`);
      }
      return payload;
    });
    await registerRoutes(server, { broker, version: VERSION, readiness: async () => readiness.value });
    const sockets = new Set<Socket>();
    server.server.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    await server.listen({ host: '127.0.0.1', port: 0 });
    const { port } = server.server.address() as AddressInfo;
    return new ApiApp({ store, watch, broker, taken, port, readiness, logged }, opened, sockets, async () => {
      broker.drain();
      server.server.closeAllConnections();
      await server.close();
      await broker.stop();
      await opened.close();
      assert.deepEqual(faults, []);
    });
  }

  stop(): Promise<void> {
    return this.#close();
  }

  /** Connections of which the server has not noticed the end. */
  get connections(): number {
    return this.#sockets.size;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** A queue that no other test uses. */
  newQueue(): string {
    return `q-${++this.#queues}`;
  }

  /** Moves the store's clock, and lets everything happen that falls due. */
  async advance(ms: number): Promise<void> {
    await this.#opened.advance(ms);
    for (;;) {
      const { now, dueAt } = await this.store.sweep();
      if (dueAt === null || dueAt > now) return;
    }
  }

  /** Moves the store's clock, and nothing else: as if the reaper had not been there yet. */
  async advanceUnswept(ms: number): Promise<void> {
    await this.#opened.advance(ms);
  }

  call(method: string, path: string, options: CallOptions = {}): Promise<Reply> {
    return this.begin(method, path, options).reply;
  }

  /** A call that a test does not wait for yet, or cuts off. */
  begin(method: string, path: string, options: CallOptions = {}): HttpCall {
    return new HttpCall(`${this.url}${path}`, method, options);
  }

  /** A long-poll that is parked: nothing is under way for it. */
  async park(
    queue: string,
    options: { method?: 'GET' | 'POST'; max?: number; requestId?: string; order?: 'fair' } = {},
  ): Promise<HttpCall> {
    const { method = 'GET', ...rest } = options;
    const before = this.broker.waiters(queue);
    const poll = this.poll({ queue, waitMs: 60_000, ...rest }, method);
    await until(() => this.broker.waiters(queue) === before + 1, { what: 'the poll waits' });
    await this.watch.quiet();
    return poll;
  }

  /** A lease call that the broker has taken. */
  async polling(asked: Asked, method: 'GET' | 'POST' = 'GET'): Promise<HttpCall> {
    const before = this.taken.leases;
    const poll = this.poll(asked, method);
    await until(() => this.taken.leases === before + 1, { what: 'the broker has the poll' });
    return poll;
  }

  poll({ queue, ...rest }: Asked, method: 'GET' | 'POST' = 'GET'): HttpCall {
    if (method === 'POST') return this.begin('POST', '/tasks/lease', { body: { queue, ...rest } });
    const query = new URLSearchParams([queue].flat().map((name) => ['queue', name]));
    for (const [name, value] of Object.entries(rest)) query.set(name, String(value));
    return this.begin('GET', `/tasks/lease?${query.toString()}`);
  }

  get(path: string, headers?: Record<string, string>): Promise<Reply> {
    return this.call('GET', path, headers ? { headers } : {});
  }

  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply> {
    return this.call('POST', path, { ...(body === undefined ? {} : { body }), ...(headers ? { headers } : {}) });
  }

  /** Posts one task; the reply's body. */
  async enqueue(task: Record<string, unknown>): Promise<Body> {
    const reply = await this.post('/tasks', task);
    assert.equal(reply.status, 201, reply.text);
    return reply.body;
  }

  /** Leases at once; the tasks. */
  async lease(queue: string, query = ''): Promise<Listed<Body>> {
    const reply = await this.get(`/tasks/lease?queue=${queue}&waitMs=0${query}`);
    assert.equal(reply.status, 200, reply.text);
    return reply.body.tasks;
  }

  /** Posts a task and leases it. */
  async leased(task: Record<string, unknown> = {}): Promise<{ id: string; token: string; queue: string; task: Body }> {
    const queue = (task['queue'] as string | undefined) ?? this.newQueue();
    await this.enqueue({ ...task, queue });
    const [granted] = await this.lease(queue);
    return { id: granted.id, token: granted.lease.token, queue, task: granted };
  }
}

/** Numbers of a queue's tasks. */
export async function countsOf(app: ApiApp, queue: string): Promise<{ ready: number; leased: number; dead: number }> {
  const { ready, leased, dead } = (await app.get(`/queues/${queue}/stats`)).body;
  return { ready, leased, dead };
}

/**
 * Runs the tests once per kind of store, on one app each.
 * @param tests `another` starts one more app on the same kind of store, which the test stops
 */
export function onEveryStore(tests: (app: () => ApiApp, another: () => Promise<ApiApp>) => void): void {
  for (const [name, makeHarness] of Object.entries(STORE_HARNESSES)) {
    describe(name, () => {
      const harness = makeHarness();
      let app: ApiApp | undefined;
      before(async () => {
        app = await ApiApp.start(harness);
      });
      after(async () => {
        try {
          await app?.stop();
        } finally {
          await harness.stop();
        }
      });
      tests(
        () => {
          assert.ok(app);
          return app;
        },
        () => ApiApp.start(harness),
      );
    });
  }
}

/** The same thing `count` times. */
export function many<Item>(count: number, item: Item): Item[] {
  return Array.from({ length: count }, () => item);
}

/** Asserts that a reply is a problem document of this kind, and returns its faults. */
export function assertProblem(reply: Reply, status: number, code: string): { pointer: string; detail: string }[] {
  assert.equal(reply.status, status, reply.text);
  assert.equal(reply.headers['content-type'], 'application/problem+json');
  assert.equal(reply.body.code, code, reply.text);
  assert.equal(reply.body.type, `/problems/${code}`);
  assert.equal(reply.body.status, status);
  return reply.body.errors ?? [];
}

/** Asserts a 422 with exactly these pointers, in any order. */
export function assertInvalid(reply: Reply, ...pointers: string[]): { pointer: string; detail: string }[] {
  const errors = assertProblem(reply, 422, 'validation_failed');
  assert.deepEqual(errors.map(({ pointer }) => pointer).sort(), [...pointers].sort(), reply.text);
  for (const { detail } of errors) assert.ok(detail.length > 5, `a detail says nothing: ${reply.text}`);
  return errors;
}
