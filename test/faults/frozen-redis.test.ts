import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type LessorProcess, startLessor, temporaryFolder } from '../process/lessor-process.ts';
import { HttpSocket, type SocketReply } from '../support/http-socket.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const FROZEN_MS = 3000;
/** What every call that meets the frozen store must have ended within. */
const DEADLINE_MS = 5000;
/** Within which all works again. */
const RECOVERY_MS = 2000;
const PRODUCERS = 10;
const WORKERS = 20;
/** A client whose call failed asks again after this. */
const RETRY_MS = 20;

/** `parked`: a poll of a queue in which there is nothing until the end. */
type Kind = 'post' | 'poll' | 'parked' | 'ack';

interface Call {
  kind: Kind;
  begun: number;
  ended: number;
  status: number;
}

describe('a Redis that is frozen for 3 seconds under load', () => {
  const folder = temporaryFolder();
  const sockets: HttpSocket[] = [];
  const calls: Call[] = [];
  /** What no client should meet. */
  const failures: unknown[] = [];
  let redis: RedisServer;
  let lessor: LessorProcess;
  let pouring = true;
  let closing = false;

  before(async () => {
    redis = await startRedis();
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: redis.url } });
  });

  after(async () => {
    closing = true;
    process.kill(redis.pid, 'SIGCONT');
    for (const socket of sockets) socket.close();
    await lessor.stop();
    await redis.stop();
    folder.remove();
  });

  async function open(): Promise<HttpSocket> {
    const socket = await HttpSocket.open(lessor.port);
    sockets.push(socket);
    return socket;
  }

  /** The reply, or null where the store did not answer: then it says so, and that the call may be made again. */
  async function call(kind: Kind, asked: () => Promise<SocketReply>): Promise<SocketReply | null> {
    const begun = performance.now();
    const reply = await asked();
    calls.push({ kind, begun, ended: performance.now(), status: reply.status });
    if (reply.status < 300) return reply;
    assert.deepEqual([reply.status, reply.body.code, reply.body.retryable], [503, 'store_unavailable', true]);
    assert.match(reply.head, /\r\ncontent-type: application\/problem\+json\r\n/);
    assert.match(reply.head, /\r\nretry-after: \d+\r\n/);
    return null;
  }

  /** The same until the store answers. */
  async function insist(kind: Kind, asked: () => Promise<SocketReply>): Promise<SocketReply> {
    for (;;) {
      const reply = await call(kind, asked);
      if (reply !== null) return reply;
      await pause(RETRY_MS);
    }
  }

  /** Posts task after task, each until it is known to be stored. */
  async function pour(producer: number, stored: Set<string>): Promise<void> {
    const socket = await open();
    for (let number = 0; pouring; number++) {
      const body = { tasks: [{ queue: 'q', idempotencyKey: `${producer}-${number}` }] };
      const reply = await insist('post', () => socket.request('POST', '/tasks/batch', body));
      stored.add(reply.body.tasks[0].id);
    }
  }

  /** Leases and acknowledges task after task, each until it is known to be acknowledged. */
  async function work(socket: HttpSocket, queue: string, kind: Kind, done: string[]): Promise<void> {
    for (;;) {
      const path = `/tasks/lease?queue=${queue}&waitMs=60000&leaseMs=600000`;
      const { tasks } = (await insist(kind, () => socket.request('GET', path))).body;
      assert.equal(tasks.length, 1, 'an empty list before the wait has run out');
      const { id, attempt, lease } = tasks[0];
      assert.equal(attempt, 1);
      await insist('ack', () => socket.request('POST', `/tasks/${id}/ack`, { leaseToken: lease.token }));
      done.push(id);
    }
  }

  /** A client at work; what it fails with before it is told to stop counts. */
  function client(working: Promise<void>): Promise<void> {
    return working.catch((error: unknown) => {
      if (!closing) failures.push(error);
    });
  }

  function reached(what: string, condition: () => boolean): Promise<boolean> {
    return until(
      () => {
        assert.deepEqual(failures, []);
        return condition();
      },
      { what },
    );
  }

  test('every call ends in time, with its success or a 503; all works again at once; nothing is lost or granted twice', async (t) => {
    const stored = new Set<string>();
    const done: string[] = [];
    const doneIdle: string[] = [];
    const workers: Promise<void>[] = [];
    for (let number = 0; number < WORKERS; number++) {
      workers.push(client(work(await open(), 'q', 'poll', done)));
      workers.push(client(work(await open(), 'idle', 'parked', doneIdle)));
    }
    const producers = Array.from({ length: PRODUCERS }, (_, number) => client(pour(number, stored)));
    const caller = await open();
    await until(async () => (await caller.request('GET', '/queues/idle/stats')).body.waiters === WORKERS);
    await reached('tasks go through', () => done.length > 500);

    const holder = await open();
    await insist('post', () => holder.request('POST', '/tasks', { queue: 'held' }));
    const [held] = (await insist('poll', () => holder.request('GET', '/tasks/lease?queue=held&leaseMs=600000'))).body
      .tasks;

    process.kill(redis.pid, 'SIGSTOP');
    const frozen = performance.now();
    const meanwhile = [0, 60_000].map(async (waitMs) => {
      const socket = await open();
      return call('poll', () => socket.request('GET', `/tasks/lease?queue=q&waitMs=${waitMs}`));
    });
    const ack = { leaseToken: held.lease.token };
    meanwhile.push(call('ack', () => holder.request('POST', `/tasks/${held.id}/ack`, ack)));
    await reached('it has been frozen for long enough', () => performance.now() - frozen >= FROZEN_MS);
    process.kill(redis.pid, 'SIGCONT');
    const thawed = performance.now();
    assert.deepEqual(await Promise.all(meanwhile), [null, null, null], 'what is asked of a frozen store fails');
    const acked = done.length;
    await reached(
      'tasks go through again',
      () => performance.now() - thawed >= RECOVERY_MS && done.length > acked + 500,
    );
    pouring = false;
    await Promise.all(producers);
    const idle = Array.from({ length: WORKERS }, () => ({ queue: 'idle' }));
    assert.equal((await caller.request('POST', '/tasks/batch', { tasks: idle })).status, 201);
    await reached('every task is acknowledged', () => done.length >= stored.size && doneIdle.length >= WORKERS);
    // Later calls go over a connection of their own.
    closing = true;
    for (const socket of sockets.splice(0)) socket.close();
    await Promise.all(workers);
    const judge = await open();

    const failed = calls.filter(({ status }) => status === 503);
    const met = calls.filter(({ kind, ended, status }) => ended > frozen && (kind !== 'parked' || status === 503));
    const longest = Math.max(...met.map(({ begun, ended }) => ended - Math.max(begun, frozen)));
    assert.ok(longest < DEADLINE_MS, `a call ended ${longest} ms after it had met the frozen store`);
    const lastFailure = Math.max(...failed.map(({ ended }) => ended)) - thawed;
    assert.ok(lastFailure < RECOVERY_MS, `a call failed ${lastFailure} ms after the thaw`);
    const seen = [
      `${failed.length} of ${calls.length} calls failed, the last ${Math.round(lastFailure)} ms after the thaw`,
    ];
    for (const kind of ['post', 'poll', 'ack'] as const) {
      const again = calls.filter((one) => one.kind === kind && one.begun > thawed && one.status < 300);
      const first = Math.min(...again.map(({ ended }) => ended)) - thawed;
      assert.ok(first < RECOVERY_MS, `the first ${kind} to succeed ended ${first} ms after the thaw`);
      assert.ok(
        failed.some((one) => one.kind === kind),
        `no ${kind} met the frozen store`,
      );
      seen.push(`the first ${kind} succeeded after ${Math.round(first)} ms`);
    }
    t.diagnostic(`${seen.join('; ')}; the longest call took ${Math.round(longest)} ms`);

    assert.deepEqual([...done].sort(), [...stored].sort(), 'what was stored is what was done, each task once');
    assert.equal(new Set(doneIdle).size, WORKERS);
    for (const [queue, all] of [
      ['q', stored.size],
      ['idle', WORKERS],
    ] as const) {
      const { counts, totals } = (await judge.request('GET', `/queues/${queue}`)).body;
      assert.deepEqual([counts.ready, counts.leased], [0, 0]);
      assert.deepEqual([totals.enqueued, totals.acked, totals.expired], [all, all, 0]);
      assert.equal(totals.leased - totals.released, all);
    }
  });
});
