import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import { QUEUE } from '../load/payload.ts';
import { makeFolder } from '../process/folder.ts';
import { cpuMs, cpuPercent } from '../process/usage.ts';
import { type Lessor, startLessor } from '../servers/lessor.ts';
import { queueStats } from '../servers/api.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { median } from '../statistics.ts';

const IDLE_PERCENT = 3;
/** From posting tasks that are due a little later until all must be ready. */
const DUE_IN_MS = 2500;

export const manyQueues: Figure = { id: 's10', title: 'Ten thousand queues of one task each, then idle', run };

async function run(bench: Bench): Promise<Row[]> {
  const queues = bench.dose(10_000, 1000);
  bench.condition(
    `${queues} queues with one waiting task each; CPU in percent of one core over ${bench.dose(10, 3)} s without requests`,
  );
  bench.condition(
    `sweep: CPU of broker and store per task that falls due in one queue, all others idle; Redis: ${REDIS_SETTINGS}`,
  );
  return [...(await onRedis(bench, queues)), ...(await embedded(bench, queues))];
}

async function onRedis(bench: Bench, queues: number): Promise<Row[]> {
  await using redis = await startRedis();
  await using broker = await startLessor({ store: redis.url });
  await using load = await startLoad();
  return await measure(bench, { what: 'on Redis', broker, redisPid: redis.pid, load, queues });
}

async function embedded(bench: Bench, queues: number): Promise<Row[]> {
  await using folder = await makeFolder('s10');
  await using broker = await startLessor({ store: `sqlite:${folder.path}/tasks.db` });
  await using load = await startLoad();
  return await measure(bench, { what: 'embedded, full', broker, redisPid: null, load, queues });
}

interface Subject {
  what: string;
  broker: Lessor;
  redisPid: number | null;
  load: Load;
  queues: number;
}

async function measure(bench: Bench, subject: Subject): Promise<Row[]> {
  const { what, broker, redisPid, load, queues } = subject;
  const pids = redisPid === null ? [broker.pid] : [broker.pid, redisPid];
  const due = bench.dose(10_000, 5000);

  bench.progress(`${what}: sweep with no other queue`);
  const sweeps = async (): Promise<number[]> => {
    const costs: number[] = [];
    for (let round = 0; round < bench.dose(3, 1); round++) costs.push(await perDueTask(subject, pids, due));
    return costs;
  };
  await perDueTask(subject, pids, due);
  const alone = await sweeps();
  await load.call('seed', { port: broker.port, tasks: queues, queues });
  await sleep(bench.dose(3000, 1000));
  bench.progress(`${what}: idle`);
  const idle = await cpuPercent(pids, () => sleep(bench.dose(10_000, 3000)));
  bench.progress(`${what}: sweep with ${queues} other queues`);
  const among = await sweeps();

  const names = [`${what}: idle CPU of the broker`, `${what}: idle CPU of Redis`];
  return [
    ...idle.map((percent, index): Row => {
      return {
        what: names[index] ?? '',
        unit: '%',
        measured: percent,
        target: { is: '<', value: IDLE_PERCENT },
        samples: {},
      };
    }),
    {
      what: `${what}: CPU per due task, with ÷ without ${queues} other queues`,
      unit: '×',
      measured: median(among) / median(alone),
      target: { is: '<=', value: 1.25 },
      samples: { 'with, µs': among, 'without, µs': alone },
    },
  ];
}

/** CPU in µs that all processes take together for a task from before it is due until it is ready. */
async function perDueTask({ broker, load }: Subject, pids: readonly number[], tasks: number): Promise<number> {
  const { ready: before = 0 } = await queueStats(broker.url, QUEUE);
  const runAt = Date.now() + DUE_IN_MS;
  await load.call('seed', { port: broker.port, tasks, runAt });
  await sleep(runAt - Date.now() - 500);
  const cpuBefore = total(pids);
  await sleep(runAt - Date.now());
  for (;;) {
    await sleep(250);
    const { ready = 0 } = await queueStats(broker.url, QUEUE);
    if (ready >= before + tasks) break;
    if (Date.now() > runAt + 30_000) throw new Error(`30 s after their due time not all of ${tasks} tasks are ready`);
  }
  return (1000 * (total(pids) - cpuBefore)) / tasks;
}

function total(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuMs(pid), 0);
}
