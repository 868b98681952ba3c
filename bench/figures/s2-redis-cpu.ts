import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { apart, describeCores } from '../process/cores.ts';
import { CycleMeter } from '../process/cycle-meter.ts';
import { startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { KEPT, pruned } from '../servers/retention.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const CONNECTIONS = 64;
const BATCH = 100;

export const redisCpu: Figure = { id: 's2', title: 'Redis CPU per full cycle (enqueue, lease, ack)', run };

async function run(bench: Bench): Promise<Row[]> {
  const cores = apart();
  await using redis = await startRedis({ cores: cores.redis });
  // The floor has a server of its own, in which nothing of the broker's is left to be done.
  await using floorRedis = await startRedis({ cores: cores.redis });
  await using broker = await startLessor({ store: redis.url, cores: cores.server });
  await using load = await startLoad({ cores: cores.load });
  const { port, url } = broker;

  const ms = bench.dose(3000, 1500);
  const tasks = bench.dose(40_000, 10_000);
  const cycles = (): Promise<{ cycles: number }> =>
    load.call('cycles', { protocol: 'lessor', port, connections: CONNECTIONS, ms });
  const batches = (): Promise<{ cycles: number }> =>
    load.call('batches', { port, producers: 4, workers: 4, batch: BATCH, tasks });
  const floor = (): Promise<{ cycles: number }> => load.call('redisFloor', { url: floorRedis.url, ms });

  bench.progress('warming up');
  await floor();
  await cycles();
  // So full, too, that each round prunes as many tasks as it finishes.
  await batches();
  await pruned(url);
  const meter = new CycleMeter({ cpuMs: () => redis.cpuMs(), settled: () => pruned(url) });
  const floorMeter = new CycleMeter({ cpuMs: () => floorRedis.cpuMs() });
  await meter.learnIdle(() => sleep(bench.dose(4000, 1000)));

  bench.progress('measuring');
  const samples = await inTurn(bench.dose(4, 2), {
    floor: () => floorMeter.perCycle(floor),
    single: () => meter.perCycle(cycles),
    batches: () => meter.perCycle(batches),
  });
  const ofSingle = ratios(samples.single, samples.floor);
  const ofBatches = ratios(samples.batches, samples.floor);

  bench.condition(`CPU of all of Redis' threads (INFO cpu) under load through HTTP; ${REDIS_SETTINGS}`);
  bench.condition(
    'floor: LPUSH, HSET, RPOP, ZADD, ZREM, DEL of the same payload, 64 cycles a pipeline, on a Redis of its own with the same settings and pinning; it keeps nothing',
  );
  bench.condition(
    `each round of the broker counts until it has pruned what the round finished (it keeps ${KEPT} completed tasks), less what Redis takes idle in that time`,
  );
  bench.condition(describeCores(cores));
  return [
    {
      what: `single requests, ${CONNECTIONS} connections ÷ floor`,
      unit: '×',
      measured: median(ofSingle),
      target: { is: '<=', value: 2 },
      samples: { ratio: ofSingle, 'Lessor, µs': samples.single, 'floor, µs': samples.floor },
    },
    {
      what: `batches of ${BATCH} ÷ floor`,
      unit: '×',
      measured: median(ofBatches),
      target: { is: '<=', value: 2 },
      samples: { ratio: ofBatches, 'Lessor, µs': samples.batches, 'floor, µs': samples.floor },
    },
    { what: 'single requests', unit: 'µs', measured: median(samples.single), target: null, samples: {} },
    { what: `batches of ${BATCH}`, unit: 'µs', measured: median(samples.batches), target: null, samples: {} },
    { what: 'floor', unit: 'µs', measured: median(samples.floor), target: null, samples: {} },
  ];
}
