import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { LoadShare } from '../load/load-share.ts';
import { assertSameReplies } from '../load/same-replies.ts';
import { apart, describeCores } from '../process/cores.ts';
import { CycleMeter } from '../process/cycle-meter.ts';
import { makeFolder } from '../process/folder.ts';
import { cpuMs } from '../process/usage.ts';
import { startBare } from '../servers/bare.ts';
import { type Lessor, startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { KEPT, pruned } from '../servers/retention.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const CONNECTIONS = 64;
const REQUESTS_PER_CYCLE = 3;

export const cpuPerRequest: Figure = { id: 's1', title: 'Server CPU per single request', run };

async function run(bench: Bench): Promise<Row[]> {
  const cores = apart();
  await using folder = await makeFolder('s1');
  await using redis = await startRedis({ cores: cores.redis });
  await using bare = await startBare({ cores: cores.server });
  await using onRedis = await startLessor({ store: redis.url, cores: cores.server });
  await using embedded = await startLessor({ store: `sqlite:${folder.path}/tasks.db`, cores: cores.server });
  await using load = await startLoad({ cores: cores.load });
  await assertSameReplies(bare.port, embedded.port);
  const share = new LoadShare(load);

  const ms = bench.dose(3000, 1500);
  const cycles = (port: number, during = ms): Promise<{ cycles: number }> =>
    share.during(() => load.call('cycles', { protocol: 'lessor', port, connections: CONNECTIONS, ms: during }));

  bench.progress('warming up');
  for (const { port } of [bare, onRedis, embedded]) await cycles(port, bench.dose(2000, 1000));
  // So full that each round prunes as many tasks as it finishes.
  const fill = { producers: 4, workers: 4, batch: 100, tasks: bench.dose(KEPT, 2000) };
  for (const { port } of [onRedis, embedded]) await load.call('batches', { port, ...fill });
  await Promise.all([pruned(onRedis.url), pruned(embedded.url)]);
  const meter = ({ pid, url }: Lessor): CycleMeter =>
    new CycleMeter({ cpuMs: () => cpuMs(pid), settled: () => pruned(url) });
  const meters = { redis: meter(onRedis), embedded: meter(embedded) };
  await Promise.all(Object.values(meters).map((each) => each.learnIdle(() => sleep(bench.dose(3000, 1000)))));
  const bareMeter = new CycleMeter({ cpuMs: () => cpuMs(bare.pid) });

  bench.progress('measuring');
  const perRequest = async (each: CycleMeter, port: number): Promise<number> =>
    (await each.perCycle(() => cycles(port))) / REQUESTS_PER_CYCLE;
  const samples = await inTurn(bench.dose(4, 2), {
    bare: () => perRequest(bareMeter, bare.port),
    redis: () => perRequest(meters.redis, onRedis.port),
    embedded: () => perRequest(meters.embedded, embedded.port),
  });
  const ofRedis = ratios(samples.redis, samples.bare);
  const ofEmbedded = ratios(samples.embedded, samples.bare);

  bench.condition(`enqueue, lease and ack in equal parts, ${CONNECTIONS} connections, one request under way on each`);
  bench.condition(`CPU of the server process (utime + stime); Redis: ${REDIS_SETTINGS}; embedded: full, on disk`);
  bench.condition(
    `each round of a broker counts until it has pruned what the round finished (it keeps ${KEPT} completed tasks), less what it takes idle in that time`,
  );
  bench.condition(`${describeCores(cores)}; ${share.words()}`);
  return [
    {
      what: 'on Redis ÷ bare Fastify',
      unit: '×',
      measured: median(ofRedis),
      target: { is: '<=', value: 1.25 },
      samples: { ratio: ofRedis, 'on Redis, µs': samples.redis, 'bare, µs': samples.bare },
    },
    {
      what: 'embedded, full ÷ bare Fastify',
      unit: '×',
      measured: median(ofEmbedded),
      target: { is: '<=', value: 1.4 },
      samples: { ratio: ofEmbedded, 'embedded, µs': samples.embedded, 'bare, µs': samples.bare },
    },
    { what: 'bare Fastify', unit: 'µs', measured: median(samples.bare), target: null, samples: {} },
    { what: 'on Redis', unit: 'µs', measured: median(samples.redis), target: null, samples: {} },
    { what: 'embedded, full', unit: 'µs', measured: median(samples.embedded), target: null, samples: {} },
  ];
}
