import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import { apart, type Cores, describeCores } from '../process/cores.ts';
import { makeFolder } from '../process/folder.ts';
import { type Lessor, settledMemory, startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { keepNothing, removed } from '../servers/retention.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const CONNECTIONS = 64;
const MIB = 1024 * 1024;
/** Memory that a process of Node may take or leave between two runs of the same work. */
const FLAT = 1.15;

export const backlog: Figure = { id: 's7', title: 'Throughput and memory with a million tasks waiting', run };

async function run(bench: Bench): Promise<Row[]> {
  const cores = apart();
  const waiting = bench.dose(1_000_000, 50_000);
  bench.condition(
    `${waiting} tasks waiting in the queue that is worked on; ${CONNECTIONS} connections, one request for each step`,
  );
  bench.condition('completed tasks are removed at once (completedMs 0), and a round ends when none is left');
  bench.condition(`Redis: ${REDIS_SETTINGS}; embedded: full, on disk; ${describeCores(cores)}`);
  bench.condition(
    'memory: resident set after collecting garbage, of brokers that were started after the tasks were stored, after the same work',
  );
  return [...(await onRedis(bench, cores, waiting)), ...(await embedded(bench, cores, waiting))];
}

async function onRedis(bench: Bench, cores: Cores, waiting: number): Promise<Row[]> {
  await using empty = await startRedis({ cores: cores.redis });
  await using full = await startRedis({ cores: cores.redis });
  await using load = await startLoad({ cores: cores.load });
  bench.progress(`storing ${waiting} tasks in Redis`);
  await fill(load, { store: full.url }, waiting);
  await using without = await startLessor({ store: empty.url, cores: cores.server, collectable: true });
  await using withTasks = await startLessor({ store: full.url, cores: cores.server, collectable: true });
  return await compare(bench, 'on Redis', load, without, withTasks);
}

async function embedded(bench: Bench, cores: Cores, waiting: number): Promise<Row[]> {
  await using folder = await makeFolder('s7');
  await using load = await startLoad({ cores: cores.load });
  const store = `sqlite:${folder.path}/full.db`;
  bench.progress(`storing ${waiting} tasks in SQLite`);
  await fill(load, { store, durability: 'normal' }, waiting);
  await using without = await startLessor({
    store: `sqlite:${folder.path}/empty.db`,
    cores: cores.server,
    collectable: true,
  });
  await using withTasks = await startLessor({ store, cores: cores.server, collectable: true });
  return await compare(bench, 'embedded, full', load, without, withTasks);
}

/** Stores tasks through a broker that is gone afterwards. */
async function fill(load: Load, options: { store: string; durability?: 'normal' }, tasks: number): Promise<void> {
  await using broker = await startLessor(options);
  await load.call('seed', { port: broker.port, tasks });
}

async function compare(bench: Bench, what: string, load: Load, without: Lessor, withTasks: Lessor): Promise<Row[]> {
  // The two share a core: neither may have work left over while the other is measured.
  for (const { url } of [without, withTasks]) await keepNothing(url);
  const perSecond = async ({ port, url }: Lessor, ms: number): Promise<number> => {
    const { cycles, ms: took } = await load.call('cycles', { protocol: 'lessor', port, connections: CONNECTIONS, ms });
    const ended = performance.now();
    await removed(url);
    return (1000 * cycles) / (took + performance.now() - ended);
  };
  bench.progress(`${what}: measuring`);
  for (const broker of [without, withTasks]) await perSecond(broker, bench.dose(2000, 1000));
  const ms = bench.dose(2500, 1000);
  const samples = await inTurn(bench.dose(4, 2), {
    without: () => perSecond(without, ms),
    withTasks: () => perSecond(withTasks, ms),
  });
  const ratio = ratios(samples.withTasks, samples.without);
  const memoryWithout = (await settledMemory(without.process)) / MIB;
  const memoryWith = (await settledMemory(withTasks.process)) / MIB;
  return [
    {
      what: `${what}: cycles/s with ÷ without`,
      unit: '×',
      measured: median(ratio),
      target: { is: '>=', value: 0.9 },
      samples: { ratio, 'with, cycles/s': samples.withTasks, 'without, cycles/s': samples.without },
    },
    {
      what: `${what}: broker memory with ÷ without`,
      unit: '×',
      measured: memoryWith / memoryWithout,
      target: { is: '<=', value: FLAT },
      samples: { 'with and without, MiB': [memoryWith, memoryWithout] },
    },
  ];
}
