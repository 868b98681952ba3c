import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type LessorProcess, runLessor, startLessor, temporaryFolder } from '../process/lessor-process.ts';
import { dose } from '../support/dose.ts';
import { MixedLoad } from '../support/mixed-load.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const ROUNDS = dose(2, 6);

interface Report {
  sound: boolean;
  queues: number;
  tasks: number;
  findings: unknown[];
  unchecked: string[];
}

describe('lessor doctor on a Redis store that brokers work on', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let lessor: LessorProcess;
  let env: Record<string, string>;

  before(async () => {
    redis = await startRedis();
    env = { LESSOR_STORE: redis.url, LESSOR_SHARDS: '4' };
    lessor = await startLessor({ dir: folder.dir, env });
  });

  after(async () => {
    await lessor.stop();
    await redis.stop();
    folder.remove();
  });

  async function doctor(...flags: string[]): Promise<Report> {
    const { code, stdout, stderr } = await runLessor({ dir: folder.dir, env, args: ['doctor', '--json', ...flags] });
    assert.equal(stderr, '');
    const report = JSON.parse(stdout) as Report;
    assert.deepEqual(report.findings, [], stdout);
    // A queue that moves too much to be counted is no fault.
    assert.deepEqual([code, report.sound], report.unchecked.length === 0 ? [0, true] : [3, false]);
    return report;
  }

  test('finds nothing, whatever moves while it looks, and mends nothing', async () => {
    const put = (queue: string, settings: unknown) =>
      fetch(`${lessor.url}/queues/${queue}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(settings),
      });
    await put('a', { retention: { completedMs: 300, deadMs: 300, completedMax: 50 } });
    await put('b', { groups: { maxConcurrency: 3, ordering: 'relaxed' }, maxConcurrency: 20 });
    await put('c', { rateLimit: { limit: 50, periodMs: 100 } });
    const load = new MixedLoad(lessor.url, ['a', 'b', 'c']);
    load.start(7, 5);
    for (let round = 0; round < ROUNDS; round++) {
      const before = load.calls;
      const report = await doctor(...(round % 2 === 1 ? ['--mend'] : []));
      assert.equal(report.queues, 3);
      assert.ok(load.calls > before, 'the load went on');
    }
    await until(() => load.stored.length > dose(150, 500), { timeoutMs: 30_000 });
    await load.stop();
    assert.ok((await doctor()).tasks > 0);
  });
});
