import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { apart, describeCores } from '../process/cores.ts';
import { makeFolder } from '../process/folder.ts';
import { cpuMs } from '../process/usage.ts';
import { startBare } from '../servers/bare.ts';
import { startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { inTurn, median, ratios } from '../statistics.ts';
import { assertSameReplies } from '../load/same-replies.ts';

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

  async function perRequest(server: { pid: number; port: number }, ms: number): Promise<number> {
    const before = cpuMs(server.pid);
    const { cycles } = await load.call('cycles', {
      protocol: 'lessor',
      port: server.port,
      connections: CONNECTIONS,
      ms,
    });
    return (1000 * (cpuMs(server.pid) - before)) / (cycles * REQUESTS_PER_CYCLE);
  }

  const warmUpMs = bench.dose(3000, 1000);
  const ms = bench.dose(4000, 1500);
  for (const server of [bare, onRedis, embedded]) await perRequest(server, warmUpMs);
  const samples = await inTurn(bench.dose(5, 2), {
    bare: () => perRequest(bare, ms),
    redis: () => perRequest(onRedis, ms),
    embedded: () => perRequest(embedded, ms),
  });
  const ofRedis = ratios(samples.redis, samples.bare);
  const ofEmbedded = ratios(samples.embedded, samples.bare);

  bench.condition(`enqueue, lease and ack in equal parts, ${CONNECTIONS} connections, one request under way on each`);
  bench.condition(`CPU of the server process (utime + stime); Redis: ${REDIS_SETTINGS}; embedded: full, on disk`);
  bench.condition(describeCores(cores));
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
