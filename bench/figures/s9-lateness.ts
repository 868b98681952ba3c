import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import { QUEUE } from '../load/payload.ts';
import { makeFolder } from '../process/folder.ts';
import { type Lessor, startLessor } from '../servers/lessor.ts';
import { queueStats } from '../servers/api.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { pruned } from '../servers/retention.ts';
import { percentile } from '../statistics.ts';

const PER_SECOND = 50;
const GIVE_UP_MS = 30_000;

export const lateTasks: Figure = { id: 's9', title: 'Lateness of delayed tasks and expired leases', run };

async function run(bench: Bench): Promise<Row[]> {
  const tasks = bench.dose(400, 100);
  const atOnce = bench.dose(100_000, 10_000);
  await using folder = await makeFolder('s9');
  await using redis = await startRedis();
  await using onRedis = await startLessor({ store: redis.url });
  await using embedded = await startLessor({ store: `sqlite:${folder.path}/tasks.db` });
  await using load = await startLoad();

  const rows: Row[] = [];
  for (const [store, broker] of [
    ['embedded, full', embedded],
    ['on Redis', onRedis],
  ] as const) {
    bench.progress(`${store}: warming up`);
    await load.call('cycles', { protocol: 'lessor', port: broker.port, connections: 8, ms: bench.dose(2000, 1000) });
    await pruned(broker.url);
    for (const what of ['delayed tasks', 'expired leases'] as const) {
      bench.progress(`${store}: ${what}`);
      const ms = await load.call('lateness', { port: broker.port, what, tasks, perSecond: PER_SECOND });
      const earliest = Math.min(...ms);
      rows.push({
        what: `${store}: ${what}, p99`,
        unit: 'ms',
        measured: percentile(ms, 0.99),
        target: { is: '<=', value: 50 },
        samples: { ms, earliest: [earliest] },
      });
    }
    bench.progress(`${store}: ${atOnce} due at once`);
    rows.push({
      what: `${store}: ${atOnce} due at once, all leasable after`,
      unit: 's',
      measured: await dueAtOnce(load, broker, atOnce, bench.dose(20_000, 4000)),
      target: { is: '<=', value: 3 },
      samples: {},
    });
  }
  bench.condition(`light load: ${PER_SECOND} tasks a second, 16 workers parked; the store's clock is the host's`);
  bench.condition(
    `from the due time, or the lease's deadline, until a worker has read its reply; Redis: ${REDIS_SETTINGS}`,
  );
  return rows;
}

/** How long after their due time all of the tasks are ready, in seconds. Storing them may take `storingMs`. */
async function dueAtOnce(load: Load, { port, url }: Lessor, tasks: number, storingMs: number): Promise<number> {
  const runAt = Date.now() + storingMs;
  await load.call('seed', { port, tasks, runAt });
  const stored = await queueStats(url, QUEUE);
  if (Date.now() >= runAt) throw new Error(`storing ${tasks} tasks took longer than ${storingMs} ms`);
  if (stored['scheduled'] !== tasks) throw new Error(`not all are scheduled: ${JSON.stringify(stored)}`);
  await sleep(runAt - Date.now());
  while (Date.now() < runAt + GIVE_UP_MS) {
    const { ready = 0 } = await queueStats(url, QUEUE);
    if (ready >= tasks) return (Date.now() - runAt) / 1000;
    await sleep(20);
  }
  throw new Error(`${GIVE_UP_MS} ms after their due time not all of ${tasks} tasks are ready`);
}
