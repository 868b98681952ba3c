import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import { QUEUE } from '../load/payload.ts';
import type { Latencies } from '../load/probe.ts';
import { apart, type Cores, describeCores } from '../process/cores.ts';
import { makeFolder } from '../process/folder.ts';
import { ask, queueStats } from '../servers/api.ts';
import { type Lessor, startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { percentile } from '../statistics.ts';

/** What no other call may take longer than. */
const BOUND_MS = 50;
const LOOK_MS = 200;

export const bulk: Figure = {
  id: 'bulk',
  title: 'Other calls while a million tasks are redriven, then purged',
  longestMs: 1_500_000,
  run,
};

async function run(bench: Bench): Promise<Row[]> {
  const cores = apart();
  const tasks = bench.dose(1_000_000, 20_000);
  bench.condition(`${tasks} dead tasks in one queue, redriven to the last; then purged while they are ready`);
  bench.condition(
    'other calls: a task at a time through that queue and two more: enqueue, lease, heartbeat, a look at the numbers, ack, every 10 ms',
  );
  bench.condition(
    'alone: the slowest of the same calls before the redrive begins, which is what the machine does by itself',
  );
  bench.condition(`Redis: ${REDIS_SETTINGS}; embedded: full, on disk; ${describeCores(cores)}`);
  return [...(await onRedis(bench, cores, tasks)), ...(await embedded(bench, cores, tasks))];
}

async function onRedis(bench: Bench, cores: Cores, tasks: number): Promise<Row[]> {
  await using redis = await startRedis({ cores: cores.redis });
  return await measure(bench, 'on Redis', redis.url, cores, tasks);
}

async function embedded(bench: Bench, cores: Cores, tasks: number): Promise<Row[]> {
  await using folder = await makeFolder('bulk');
  return await measure(bench, 'embedded, full', `sqlite:${folder.path}/tasks.db`, cores, tasks);
}

async function measure(bench: Bench, what: string, store: string, cores: Cores, tasks: number): Promise<Row[]> {
  await using load = await startLoad({ cores: cores.load });
  await using broker = await startLessor({ store, cores: cores.server });
  const { port, url } = broker;
  bench.progress(`${what}: storing ${tasks} tasks and failing them for good`);
  await load.call('seed', { port, tasks });
  await load.call('kill', { port, tasks });
  const before = await queueStats(url, QUEUE);
  if (before['dead'] !== tasks) throw new Error(`not all are dead: ${JSON.stringify(before)}`);

  bench.progress(`${what}: other calls alone`);
  const alone = await meanwhile(load, broker, () => sleep(bench.dose(10_000, 2000)));
  bench.progress(`${what}: redriving`);
  const redrive = await meanwhile(load, broker, () => redriveAll(url));
  const redriven = (await queueStats(url, QUEUE))['ready'];
  if (redriven !== tasks) throw new Error(`redrove ${redriven} of ${tasks}`);
  bench.progress(`${what}: purging`);
  const purge = await meanwhile(load, broker, async () => {
    await ask(url, 'POST', `/queues/${QUEUE}/purge`, { states: ['ready'] });
  });
  return [...rows(`${what}: redrive`, redrive, alone, tasks), ...rows(`${what}: purge`, purge, alone, tasks)];
}

interface Seen {
  latencies: Latencies;
  ms: number;
}

/** How long other calls take while something is done. */
async function meanwhile(load: Load, { port }: Lessor, work: () => Promise<void>): Promise<Seen> {
  await load.call('startProbe', { port, queues: [QUEUE, 'other', 'another'] });
  const begun = performance.now();
  await work();
  const ms = performance.now() - begun;
  return { latencies: await load.call('stopProbe', undefined), ms };
}

async function redriveAll(url: string): Promise<void> {
  const begun = (await ask(url, 'POST', `/queues/${QUEUE}/redrive`, {})) as { id?: string };
  if (begun.id === undefined) throw new Error(`not an operation: ${JSON.stringify(begun)}`);
  for (;;) {
    const { state } = (await ask(url, 'GET', `/operations/${begun.id}`)) as { state: string };
    if (state === 'completed') return;
    await sleep(LOOK_MS);
  }
}

function rows(what: string, { latencies, ms }: Seen, alone: Seen, tasks: number): Row[] {
  const all = Object.values(latencies).flat();
  const slowest = Object.fromEntries(
    Object.entries(latencies).map(([kind, took]) => [
      `slowest ${kind}, ms`,
      took.toSorted((a, b) => b - a).slice(0, 5),
    ]),
  );
  return [
    {
      what: `${what}: slowest other call`,
      unit: 'ms',
      measured: Math.max(...all),
      target: { is: '<=', value: BOUND_MS },
      samples: {
        ...slowest,
        'p99 and p99.9, ms': [percentile(all, 0.99), percentile(all, 0.999)],
        'slowest alone, ms': [Math.max(...Object.values(alone.latencies).flat())],
        calls: [all.length],
        'tasks a second': [(1000 * tasks) / ms],
      },
    },
  ];
}
