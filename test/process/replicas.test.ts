import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpSocket } from '../support/http-socket.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

const REPLICAS = 2;
const WORKERS = 200;
const PRODUCERS = 10;
const WAVES = 50;
const LEASE_MS = 600_000;
/** How long after the first poll has parked a replica asks although it was not woken, and every so often from then on. */
const SLOW_POLL_MS = 2000;

interface Granted {
  id: string;
  lease: { token: string; fence: number; expiresAt: string };
}

describe('two replicas on one Redis with 200 workers', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let lessors: LessorProcess[];
  let callers: HttpSocket[];
  let producers: HttpSocket[];
  let workers: HttpSocket[];

  before(async () => {
    redis = await startRedis();
    const env = { LESSOR_STORE: redis.url };
    lessors = await Promise.all(Array.from({ length: REPLICAS }, () => startLessor({ dir: folder.dir, env })));
    // In turn to the replicas.
    const open = (count: number): Promise<HttpSocket[]> =>
      Promise.all(Array.from({ length: count }, (_, index) => HttpSocket.open(lessors[index % REPLICAS]?.port ?? 0)));
    [callers, producers, workers] = [await open(REPLICAS), await open(PRODUCERS), await open(WORKERS)];
  });

  after(async () => {
    for (const socket of [...callers, ...producers, ...workers]) socket.close();
    await Promise.all(lessors.map((lessor) => lessor.stop()));
    await redis.stop();
    folder.remove();
  });

  async function waiting(): Promise<number> {
    const stats = await Promise.all(callers.map((caller) => caller.request('GET', '/queues/q/stats')));
    return stats.reduce((sum, { body }) => sum + body.waiters, 0);
  }

  /** As many tasks as there are workers: all of them through one replica, or each by itself through whichever. */
  async function pour(wave: number): Promise<void> {
    if (wave % 2 === 0) {
      const tasks = Array.from({ length: WORKERS }, () => ({ queue: 'q' }));
      assert.equal((await callers[(wave / 2) % REPLICAS]?.request('POST', '/tasks/batch', { tasks }))?.status, 201);
      return;
    }
    let left = WORKERS;
    const pourOne = async (producer: HttpSocket): Promise<void> => {
      while (left-- > 0) assert.equal((await producer.request('POST', '/tasks', { queue: 'q' })).status, 201);
    };
    await Promise.all(producers.map(pourOne));
  }

  it('lease each of 10,000 tasks once, and none waits for the slow poll', async (t) => {
    const ids = new Set<string>();
    let longest = 0;
    for (let wave = 0; wave < WAVES; wave++) {
      // Nobody waits at this moment, so that no slow poll is due before this much later.
      const begun = Date.now();
      const polls = workers.map((worker) =>
        worker.request('GET', `/tasks/lease?queue=q&waitMs=60000&leaseMs=${LEASE_MS}`),
      );
      await until(async () => (await waiting()) === WORKERS, { what: 'all workers are parked' });
      await pour(wave);
      const granted: Granted[] = (await Promise.all(polls)).flatMap(({ body }) => body.tasks);
      assert.equal(granted.length, WORKERS);
      for (const { id, lease } of granted) {
        assert.equal(lease.fence, 1, `task ${id} was leased before`);
        ids.add(id);
        // By the clock of Redis, which runs on this machine.
        longest = Math.max(longest, Date.parse(lease.expiresAt) - LEASE_MS - begun);
      }
      assert.ok(
        longest < SLOW_POLL_MS,
        `the last task of wave ${wave} was leased ${longest} ms after the workers came`,
      );
      const items = granted.map(({ id, lease }) => ({ id, leaseToken: lease.token, op: 'ack' }));
      const acked = await callers[wave % REPLICAS]?.request('POST', '/leases/settle', { items });
      assert.deepEqual([acked?.status, acked?.body.failed], [200, 0]);
    }
    assert.equal(ids.size, WAVES * WORKERS);
    const reply = await callers[0]?.request('GET', '/queues/q');
    const { enqueued, leased, released, expired, acked } = reply?.body.totals ?? {};
    const all = WAVES * WORKERS;
    assert.deepEqual([enqueued, leased, released, expired, acked], [all, all, 0, 0, all]);
    t.diagnostic(`the slowest of ${WAVES} waves was served ${longest} ms after its workers came`);
  });
});
