import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { apart, describeCores } from '../process/cores.ts';
import { startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const CONNECTIONS = 64;
const BATCH = 100;

export const redisCpu: Figure = { id: 's2', title: 'Redis CPU per full cycle (enqueue, lease, ack)', run };

async function run(bench: Bench): Promise<Row[]> {
  const cores = apart();
  await using redis = await startRedis({ cores: cores.redis });
  await using broker = await startLessor({ store: redis.url, cores: cores.server });
  await using load = await startLoad({ cores: cores.load });
  const { port } = broker;

  async function perCycle(work: () => Promise<{ cycles: number }>): Promise<number> {
    const before = await redis.cpuMs();
    const { cycles } = await work();
    return (1000 * ((await redis.cpuMs()) - before)) / cycles;
  }

  const ms = bench.dose(4000, 1500);
  const tasks = bench.dose(60_000, 10_000);
  const sides = {
    floor: () => perCycle(() => load.call('redisFloor', { url: redis.url, ms })),
    single: () => perCycle(() => load.call('cycles', { protocol: 'lessor', port, connections: CONNECTIONS, ms })),
    batches: () => perCycle(() => load.call('batches', { port, producers: 4, workers: 4, batch: BATCH, tasks })),
  };
  await inTurn(1, sides);
  const samples = await inTurn(bench.dose(5, 2), sides);
  const ofSingle = ratios(samples.single, samples.floor);
  const ofBatches = ratios(samples.batches, samples.floor);

  bench.condition(`CPU of all of Redis' threads (INFO cpu) under load through HTTP; ${REDIS_SETTINGS}`);
  bench.condition(
    'floor: LPUSH, HSET, RPOP, ZADD, ZREM, DEL of the same payload on the same server, 64 cycles a pipeline',
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
