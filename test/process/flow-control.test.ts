import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as work } from 'node:timers/promises';
import { dose } from '../support/dose.ts';
import { HttpSocket, type SocketReply } from '../support/http-socket.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { seeded, testSeed } from '../support/seeded.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

const REPLICAS = 2;
const seed = testSeed();

/** A task as a lease call answers it. */
interface Leased {
  id: string;
  groupKey: string;
  payload: number;
  lease: { token: string; expiresAt: string };
}

async function expect(status: number, reply: Promise<SocketReply>): Promise<SocketReply> {
  const { status: answered, body } = await reply;
  assert.equal(answered, status, JSON.stringify(body));
  return reply;
}

/** Leases of those that do what they should, and of those that vanish with one: only these ever run out. */
const LONG_MS = 600_000;
const VANISH_MS = 700;

/** Of a worker that is to be heard of no more. @returns when its lease runs out, by the clock of the store */
async function vanish(socket: HttpSocket, { id, lease }: Leased): Promise<number> {
  const last = { leaseToken: lease.token, leaseMs: VANISH_MS };
  const { body } = await expect(200, socket.request('POST', `/tasks/${id}/heartbeat`, last));
  return Date.parse(body.lease.expiresAt);
}

/** Stores tasks whose payloads number them. */
async function fill(client: HttpSocket, tasks: readonly object[]): Promise<void> {
  for (let at = 0; at < tasks.length; at += 1000) {
    await expect(201, client.request('POST', '/tasks/batch', { tasks: tasks.slice(at, at + 1000) }));
  }
}

/** Works off the groups of a queue with workers that fail now and then, or vanish, and looks at every grant. */
async function completeInOrder(connect: () => Promise<HttpSocket>, t: TestContext): Promise<void> {
  const GROUPS = 200;
  const EACH = dose(5, 50);
  const WORKERS = 20;
  const client = await connect();
  const backoff = { type: 'fixed', baseMs: 1, jitter: 0 };
  await expect(201, client.request('PUT', '/queues/order', { backoff, maxAttempts: 1000 }));
  const numbers = Array.from({ length: GROUPS * EACH }, (_, number) => number);
  await fill(
    client,
    numbers.map((payload) => ({ queue: 'order', groupKey: `g${payload % GROUPS}`, payload })),
  );

  const random = seeded(seed);
  /** Of each group the number of its task that is to be completed next. */
  const next = new Map(numbers.slice(0, GROUPS).map((number) => [`g${number}`, number]));
  let failures = 0;
  let done = 0;
  await Promise.all(
    Array.from({ length: WORKERS }, async () => {
      const socket = await connect();
      while (done < numbers.length) {
        const path = `/tasks/lease?queue=order&max=10&waitMs=200&leaseMs=${LONG_MS}`;
        const { body } = await expect(200, socket.request('GET', path));
        const items = [];
        for (const task of body.tasks as Leased[]) {
          const { id, groupKey, payload, lease } = task;
          assert.equal(payload, next.get(groupKey), `of ${groupKey}`);
          const settle = { id, leaseToken: lease.token };
          const chance = random();
          if (chance < 0.1) items.push({ ...settle, op: 'nack' });
          else if (chance < 0.15) items.push({ ...settle, op: 'nack', delayMs: 0 });
          else if (chance < 0.2) items.push({ ...settle, op: 'release' });
          else if (chance < 0.205) {
            await vanish(socket, task);
            failures++;
          } else {
            items.push({ ...settle, op: 'ack' });
            next.set(groupKey, payload + GROUPS);
            done++;
          }
        }
        failures += items.filter(({ op }) => op !== 'ack').length;
        if (items.length === 0) continue;
        const settled = await expect(200, socket.request('POST', '/leases/settle', { items }));
        assert.equal(settled.body.failed, 0);
      }
    }),
  );
  const { acked, dead } = (await expect(200, client.request('GET', '/queues/order'))).body.totals;
  assert.deepEqual([acked, dead], [numbers.length, 0]);
  t.diagnostic(`${numbers.length} completed, ${failures} failures between`);
}

describe(`two replicas on one Redis (LESSOR_SEED=${seed})`, () => {
  const folder = temporaryFolder();
  const sockets = new Set<HttpSocket>();
  let redis: RedisServer;
  let lessors: LessorProcess[];
  let opened = 0;

  before(async () => {
    redis = await startRedis();
    const env = { LESSOR_STORE: redis.url };
    lessors = await Promise.all(Array.from({ length: REPLICAS }, () => startLessor({ dir: folder.dir, env })));
  });

  after(async () => {
    for (const socket of sockets) socket.close();
    await Promise.all(lessors.map((lessor) => lessor.stop()));
    await redis.stop();
    folder.remove();
  });

  /** In turn to the replicas. */
  async function connect(): Promise<HttpSocket> {
    const socket = await HttpSocket.open(lessors[opened++ % REPLICAS]?.port ?? 0);
    sockets.add(socket);
    return socket;
  }

  it('store one task when 1,000 post one unique key at once', async () => {
    const producers = await Promise.all(Array.from({ length: 1000 }, connect));
    const task = { queue: 'unique', unique: { key: 'k' } };
    const replies = await Promise.all(producers.map((producer) => producer.request('POST', '/tasks', task)));
    assert.equal(new Set(replies.map(({ body }) => body.id)).size, 1);
    assert.equal(replies.filter(({ status }) => status === 201).length, 1);
    assert.equal(replies.filter(({ status, body }) => status === 200 && body.deduplicated === true).length, 999);
    const { body } = await expect(200, (await connect()).request('GET', '/queues/unique'));
    assert.deepEqual([body.counts.ready, body.totals.enqueued], [1, 1]);
    for (const producer of producers) producer.close();
  });

  describe('with limits', { concurrency: true }, () => {
    const RUN_MS = dose(5000, 20_000);
    const WORKERS = 50;
    const CONCURRENCY = 7;
    const RATE = { limit: 100, periodMs: 1000 };
    /** Long beside the way from an ack to the next grant, which leaves a place unused. */
    const WORK_MS = 800;
    const LEAST = 0.95;

    /** A lease by the clock of Redis. */
    interface Held {
      id: string;
      from: number;
      deadline: number;
      acked: boolean;
    }

    /**
     * Workers poll for as long as the run takes, and some are killed with a lease in their hands, each replaced by a new one.
     * @param each so many leases one ends like that
     */
    async function hammer(queue: string, workMs: number, each: number): Promise<Held[]> {
      const grants: Held[] = [];
      const connected = await Promise.all(Array.from({ length: WORKERS }, connect));
      const end = performance.now() + RUN_MS;
      await Promise.all(
        connected.map(async (first) => {
          let socket = first;
          for (let left = RUN_MS; left > 0; left = Math.floor(end - performance.now())) {
            const path = `/tasks/lease?queue=${queue}&waitMs=${left}&leaseMs=${LONG_MS}`;
            const { body } = await expect(200, socket.request('GET', path));
            for (const task of body.tasks as Leased[]) {
              const { id, lease } = task;
              const deadline = Date.parse(lease.expiresAt);
              const grant: Held = { id, from: deadline - LONG_MS, deadline, acked: false };
              const count = grants.push(grant);
              if (workMs > 0) await work(workMs);
              if (count % each === 0) {
                grant.deadline = await vanish(socket, task);
                socket.close();
                socket = await connect();
                continue;
              }
              const ack = { leaseToken: lease.token };
              await expect(200, socket.request('POST', `/tasks/${id}/ack`, ack));
              grant.acked = true;
            }
          }
          socket.close();
        }),
      );
      return grants.toSorted((a, b) => a.from - b.from);
    }

    /** The workers know of every lease, and some of them were killed. */
    async function assertKnown(client: HttpSocket, queue: string, grants: readonly Held[]): Promise<void> {
      const { leased, expired } = (await expect(200, client.request('GET', `/queues/${queue}`))).body.totals;
      assert.equal(leased, grants.length);
      assert.ok(expired > 0);
    }

    it(`lease no more than maxConcurrency at once, and no less than 95 % of it, though workers are killed`, async (t) => {
      const client = await connect();
      await expect(201, client.request('PUT', '/queues/few', { maxConcurrency: CONCURRENCY }));
      await fill(
        client,
        Array.from({ length: 1000 }, () => ({ queue: 'few' })),
      );
      const grants = await hammer('few', WORK_MS, 8);
      await assertKnown(client, 'few', grants);

      const ended = async ({ id, deadline, acked }: Held): Promise<number> => {
        if (!acked) return deadline;
        return Date.parse((await expect(200, client.request('GET', `/tasks/${id}`))).body.finishedAt);
      };
      const leases: { from: number; until: number }[] = [];
      for (const grant of grants) leases.push({ from: grant.from, until: await ended(grant) });

      const first = grants[0]?.from ?? 0;
      const last = grants.at(-1)?.from ?? 0;
      // What ends in the millisecond in which another begins has ended before.
      const steps = leases
        .flatMap(({ from, until }) => [
          { at: from, by: 1 },
          { at: until, by: -1 },
        ])
        .toSorted((a, b) => a.at - b.at || a.by - b.by);
      let leased = 0;
      for (const { by } of steps) {
        leased += by;
        assert.ok(leased <= CONCURRENCY, `${leased} leases at once`);
      }
      const used = leases.reduce((sum, { from, until }) => sum + Math.min(until, last) - Math.min(from, last), 0);
      const part = used / (CONCURRENCY * (last - first));
      t.diagnostic(`${grants.length} leases, ${(100 * part).toFixed(1)} % of what is allowed`);
      assert.ok(part >= LEAST, `${part} of what is allowed was used`);
    });

    it('lease no more than the rate limit in any period, and no less than 95 % of it, though workers are killed', async (t) => {
      const client = await connect();
      await expect(201, client.request('PUT', '/queues/slow', { rateLimit: RATE }));
      const tasks = Math.ceil((RUN_MS / RATE.periodMs + 2) * RATE.limit);
      await fill(
        client,
        Array.from({ length: tasks }, () => ({ queue: 'slow' })),
      );
      const grants = await hammer('slow', 0, 20);
      await assertKnown(client, 'slow', grants);
      for (const [index, { from }] of grants.entries()) {
        const next = grants[index + RATE.limit]?.from ?? Number.POSITIVE_INFINITY;
        assert.ok(next >= from + RATE.periodMs, `${RATE.limit + 1} grants in ${next - from} ms`);
      }
      const allowed = Math.floor(RUN_MS / RATE.periodMs) * RATE.limit;
      t.diagnostic(`${grants.length} leases in ${RUN_MS} ms`);
      assert.ok(grants.length >= LEAST * allowed, `${grants.length} of ${allowed} were granted`);
    });
  });

  it('complete the tasks of each group in order, whatever fails', (t) => completeInOrder(connect, t));
});

describe(`one broker with the embedded store (LESSOR_SEED=${seed})`, () => {
  const folder = temporaryFolder();
  const sockets = new Set<HttpSocket>();

  after(() => {
    for (const socket of sockets) socket.close();
    folder.remove();
  });

  it('completes the tasks of each group in order, whatever fails', async (t) => {
    const lessor = await startLessor({ dir: folder.dir });
    const connect = async (): Promise<HttpSocket> => {
      const socket = await HttpSocket.open(lessor.port);
      sockets.add(socket);
      return socket;
    };
    try {
      await completeInOrder(connect, t);
    } finally {
      await lessor.stop();
    }
  });
});
