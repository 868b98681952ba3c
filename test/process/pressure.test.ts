import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { HttpSocket, type SocketReply } from '../support/http-socket.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

const BURDEN = fileURLToPath(new URL('burden.ts', import.meta.url));
const MAX_MEMORY = '32mb';
const PAYLOAD = 'x'.repeat(200_000);

describe('a broker whose Redis is almost at its maxmemory', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let lessor: LessorProcess;
  let client: HttpSocket;

  before(async () => {
    redis = await startRedis({ args: ['--maxmemory', MAX_MEMORY] });
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: redis.url } });
    client = await HttpSocket.open(lessor.port);
  });

  after(async () => {
    client.close();
    await lessor.stop();
    await redis.stop();
    folder.remove();
  });

  const post = (path: string, body: unknown): Promise<SocketReply> => client.request('POST', path, body);

  it('refuses new tasks with 503 while all else goes on, and takes them again when there is room', async () => {
    // Until it is noticed, which is a second or so later; meanwhile Redis itself may refuse them.
    const refused = await until(async () => {
      const reply = await post('/tasks', { queue: 'big', payload: PAYLOAD });
      return [201, 507].includes(reply.status) ? null : reply;
    });
    assert.deepEqual([refused.status, refused.body.code, refused.body.retryable], [503, 'store_unavailable', true]);
    assert.match(refused.body.detail, /almost full .* Nothing was stored/);
    assert.match(refused.head, /\r\nretry-after: 1\r\n/);
    const batch = await post('/tasks/batch', { tasks: [{ queue: 'small' }, { queue: 'other' }] });
    assert.deepEqual([batch.status, batch.body.code], [503, 'store_unavailable']);

    // A proxy that heeds it must not keep acks away: they are what makes room. Nor when Redis has no room at all.
    const admin = new Redis(redis.url);
    await admin.config('SET', 'maxmemory', '1mb');
    const readiness = await client.request('GET', '/readyz?verbose');
    const leased = await client.request('GET', '/tasks/lease?queue=big&max=2&waitMs=0');
    await admin.config('SET', 'maxmemory', MAX_MEMORY);
    admin.disconnect();
    assert.equal(readiness.status, 200);
    assert.match(JSON.stringify(readiness.body.checks), /leases and settles; new tasks are refused: .*almost full/);
    const [first, second] = leased.body.tasks;
    assert.equal(second.payload, PAYLOAD);
    const beat = await post(`/tasks/${first.id}/heartbeat`, { leaseToken: first.lease.token, progress: 50 });
    const acked = await post(`/tasks/${first.id}/ack`, { leaseToken: first.lease.token });
    const nacked = await post(`/tasks/${second.id}/nack`, { leaseToken: second.lease.token });
    const read = await client.request('GET', `/tasks/${first.id}`);
    assert.deepEqual(
      [beat, acked, nacked, read].map(({ status }) => status),
      [200, 200, 200, 200],
    );

    const purged = await post('/queues/big/purge', { states: ['ready', 'scheduled', 'completed'] });
    assert.equal(purged.status, 200);
    await until(async () => (await post('/tasks', { queue: 'big' })).status === 201, {
      what: 'new tasks are taken again',
    });
    const lines = lessor.stdout.split('\n').filter((line) => line.includes('"pressure":"store"'));
    assert.equal(lines.length, 2, lessor.stdout);
    assert.match(lines[0] ?? '', /new tasks are refused with 503 .*9\d %|new tasks are refused with 503 .*10\d %/);
    assert.match(lines[1] ?? '', /new tasks are taken again/);
  });

  it('is not ready and takes no new tasks while Redis may throw tasks away, and says so', async () => {
    const { id } = (await post('/tasks', { queue: 'kept' })).body;
    const admin = new Redis(redis.url);
    try {
      await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
      const refused = await until(async () => {
        const reply = await post('/tasks', { queue: 'kept' });
        return reply.status === 201 ? null : reply;
      });
      assert.deepEqual([refused.status, refused.body.code, refused.body.retryable], [503, 'store_unavailable', true]);
      assert.match(refused.body.detail, /may throw away .* Nothing was stored/);
      const readiness = await client.request('GET', '/readyz?verbose');
      assert.equal(readiness.status, 503);
      assert.match(readiness.body.detail, /its maxmemory-policy is "allkeys-lru"; set it to "noeviction"/);
      const leased = await client.request('GET', '/tasks/lease?queue=kept&waitMs=0');
      const [{ id: first, lease }] = leased.body.tasks;
      assert.equal(first, id);
      assert.equal((await post(`/tasks/${id}/ack`, { leaseToken: lease.token })).status, 200);
      const said = lessor.stdout.split('\n').filter((line) => line.includes('"pressure":"eviction"'));
      assert.equal(said.length, 1, lessor.stdout);
      assert.match(said[0] ?? '', /new tasks are refused with 503 .* set maxmemory-policy to noeviction/);
    } finally {
      await admin.config('SET', 'maxmemory-policy', 'noeviction');
      admin.disconnect();
    }
    await until(async () => (await post('/tasks', { queue: 'kept' })).status === 201, {
      what: 'new tasks are taken again',
    });
    assert.equal((await client.request('GET', '/readyz')).status, 200);
  });
});

for (const { burden, pressure, nodeArgs } of [
  { burden: 'loop', pressure: 'event_loop', nodeArgs: [] },
  { burden: 'heap', pressure: 'heap', nodeArgs: ['--max-old-space-size=96'] },
]) {
  describe(`a broker whose ${burden === 'loop' ? 'event loop runs late' : 'heap is nearly used up'}`, () => {
    const folder = temporaryFolder();
    let lessor: LessorProcess;
    let client: HttpSocket;

    before(async () => {
      lessor = await startLessor({
        dir: folder.dir,
        env: { LESSOR_STORE: 'sqlite::memory:', LESSOR_TEST_BURDEN: burden },
        nodeArgs: ['--import', BURDEN, ...nodeArgs],
      });
      client = await HttpSocket.open(lessor.port);
    });

    after(async () => {
      client.close();
      await lessor.stop();
      folder.remove();
    });

    it('refuses new tasks with 503 while workers settle what they hold, until it has passed', async () => {
      await client.request('POST', '/tasks/batch', { tasks: [{ queue: 'q' }] });
      const leased = await client.request('GET', '/tasks/lease?queue=q');
      const [{ id, lease }] = leased.body.tasks;
      const post = (): Promise<SocketReply> => client.request('POST', '/tasks', { queue: 'q' });

      lessor.signal('SIGUSR2');
      const refused = await until(async () => {
        const reply = await post();
        return reply.status === 201 ? null : reply;
      });
      assert.deepEqual([refused.status, refused.body.code, refused.body.retryable], [503, 'store_unavailable', true]);
      const acked = await client.request('POST', `/tasks/${id}/ack`, { leaseToken: lease.token });
      assert.equal(acked.status, 200);

      lessor.signal('SIGUSR2');
      await until(async () => (await post()).status === 201, {
        what: 'new tasks are taken again',
        timeoutMs: 30_000,
      });
      const lines = lessor.stdout.split('\n').filter((line) => line.includes(`"pressure":"${pressure}"`));
      assert.equal(lines.length, 2, lessor.stdout);
    });
  });
}
