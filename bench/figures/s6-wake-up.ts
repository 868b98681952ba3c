import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { ANYWHERE, describeCores } from '../process/cores.ts';
import { makeFolder } from '../process/folder.ts';
import { startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { pruned } from '../servers/retention.ts';
import { percentile } from '../statistics.ts';

const PARKED = 1000;
const PER_SECOND = 50;
const P50_MS = 1.5;
const P99_MS = 10;
const OTHER_P99_MS = 20;

export const wakeUp: Figure = { id: 's6', title: 'From posting a task until a parked worker has it', run };

async function run(bench: Bench): Promise<Row[]> {
  await using folder = await makeFolder('s6');
  await using redis = await startRedis();
  await using onRedis = await startLessor({ store: redis.url });
  await using other = await startLessor({ store: redis.url });
  await using embedded = await startLessor({ store: `sqlite:${folder.path}/tasks.db` });
  await using load = await startLoad();

  const measure = (producerPort: number, workerPort: number, tasks: number): Promise<number[]> =>
    load.call('wakeUps', { producerPort, workerPort, parked: PARKED, tasks, perSecond: PER_SECOND });

  const tasks = bench.dose(1000, 200);
  const sides = [
    { what: 'embedded, full', from: embedded.port, to: embedded.port, p50: P50_MS, p99: P99_MS },
    { what: 'on Redis', from: onRedis.port, to: onRedis.port, p50: P50_MS, p99: P99_MS },
    { what: 'on Redis, worker at the other replica', from: onRedis.port, to: other.port, p50: null, p99: OTHER_P99_MS },
  ];
  const rows: Row[] = [];
  for (const { what, from, to, p50, p99 } of sides) {
    bench.progress(what);
    // A broker that has just started runs code that is not compiled yet.
    for (const port of new Set([from, to])) {
      await load.call('cycles', { protocol: 'lessor', port, connections: 8, ms: bench.dose(3000, 1000) });
      // Nor is it busy any more with what came before.
      await pruned(`http://127.0.0.1:${port}`);
    }
    const ms = await measure(from, to, tasks);
    const row = (part: number, most: number | null): Row => ({
      what: `${what}: p${part * 100}`,
      unit: 'ms',
      measured: percentile(ms, part),
      target: most === null ? null : { is: '<=', value: most },
      samples: part === 0.5 ? { ms } : {},
    });
    rows.push(row(0.5, p50), row(0.99, p99));
  }
  bench.condition(`${PARKED} workers parked on one queue, ${PER_SECOND} tasks a second, ${tasks} tasks`);
  bench.condition(
    'from sending the request until the worker has read its reply, by the clock of the one client process',
  );
  bench.condition(`${describeCores(ANYWHERE)}; Redis: ${REDIS_SETTINGS}`);
  return rows;
}
