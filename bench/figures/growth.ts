import { setTimeout as sleep } from 'node:timers/promises';
import { LIBRARY_PREFIX } from '../../src/store/redis/library.ts';
import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import { QUEUE } from '../load/payload.ts';
import { spreadQueue } from '../load/seed.ts';
import { apart, describeCores, mayComeFirst } from '../process/cores.ts';
import { CycleMeter } from '../process/cycle-meter.ts';
import { cpuMs, waitedMs } from '../process/usage.ts';
import { ask, lease } from '../servers/api.ts';
import { type Lessor, startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, type RedisServer, startRedis } from '../servers/redis.ts';
import { KEPT, pruned } from '../servers/retention.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const CONNECTIONS = 64;
/** Of a script. */
const TOO_LONG_MS = 10;
/** From here on Redis notes what took how long. */
const NOTED_US = 1000;

export const growth: Figure = { id: 'growth', title: 'Cost per task as everything else grows, on Redis', run };

/** A broker, its Redis, and its load. */
interface Subject {
  broker: Lessor;
  redis: RedisServer;
  load: Load;
}

async function run(bench: Bench): Promise<Row[]> {
  // Redis has its core for itself, as far as the bench goes.
  const pinned = apart();
  const cores = { ...pinned, load: pinned.server };
  const waiting = bench.dose(200_000, 20_000);
  const queues = bench.dose(10_000, 1000);
  const parked = bench.dose(5000, 500);
  const finished = bench.dose(20_000, 5000);
  const first = mayComeFirst();
  await using plainRedis = await startRedis({ cores: cores.redis, first });
  await using grownRedis = await startRedis({ cores: cores.redis, first });
  await using plainBroker = await startLessor({ store: plainRedis.url, cores: cores.server });
  await using grownBroker = await startLessor({ store: grownRedis.url, cores: cores.server });
  await using load = await startLoad({ cores: cores.load });
  const plain: Subject = { broker: plainBroker, redis: plainRedis, load };
  const grown: Subject = { broker: grownBroker, redis: grownRedis, load };
  const { port } = grownBroker;

  await grownRedis.client.config('SET', 'slowlog-log-slower-than', NOTED_US);
  await grownRedis.client.config('SET', 'slowlog-max-len', 10_000);
  bench.progress('growing');
  const fill = { producers: 4, workers: 4, batch: 100 };
  await load.call('batches', { port, ...fill, tasks: finished });
  // The other one as well, so that each round of both prunes as many tasks as it finishes.
  await load.call('batches', { port: plainBroker.port, ...fill, tasks: finished });
  await load.call('seed', { port, tasks: waiting });
  await load.call('seed', { port, tasks: queues, queues });
  await load.call('park', { port, polls: parked, path: '/tasks/lease?queue=elsewhere&waitMs=60000' });

  bench.progress('comparing');
  const ms = bench.dose(2500, 1000);
  const sides = { plain: meterOf(plain), grown: meterOf(grown) };
  for (const side of Object.values(sides)) await side.warmUp(ms);
  await Promise.all(Object.values(sides).map((side) => side.learnIdle(bench.dose(3000, 1000))));
  const samples = await inTurn(bench.dose(4, 2), {
    plain: () => sides.plain.perCycle(ms),
    grown: () => sides.grown.perCycle(ms),
  });
  const ratio = ratios(samples.grown, samples.plain);
  await load.call('unpark', undefined);

  bench.progress('everything that can be done to a large queue');
  const waitedBefore = waitedMs(grownRedis.pid);
  await useEverything(grown, bench.dose(20_000, 2000));
  const slow = await slowScripts(grownRedis);
  const waited = waitedMs(grownRedis.pid) - waitedBefore;

  bench.condition(
    `grown: ${waiting} tasks waiting in the queue, ${queues} other queues, ${parked} parked polls, ${finished} finished tasks`,
  );
  bench.condition(`CPU of broker and Redis per full cycle, ${CONNECTIONS} connections, one request for each step`);
  bench.condition(
    'scripts: batches of 1000, leases of 100, settles, lists, mass expiry and promotion, cancel, redrive, purge, delete',
  );
  bench.condition(
    `the slow log counts time in which others have the core: Redis ${first ? 'gives way to nobody (chrt --fifo)' : 'has no precedence, which needs root'}, and waited ${waited.toFixed(1)} ms for its core in all of that`,
  );
  bench.condition(
    `each round counts until what it finished has been pruned (${KEPT} completed tasks are kept), less what broker and Redis take idle in that time`,
  );
  bench.condition(`Redis: ${REDIS_SETTINGS}; ${describeCores(cores)}`);
  return [
    {
      what: 'CPU per cycle, grown ÷ plain',
      unit: '×',
      measured: median(ratio),
      target: { is: '<=', value: 1.1 },
      samples: { ratio, 'grown, µs': samples.grown, 'plain, µs': samples.plain },
    },
    {
      what: `scripts over ${TOO_LONG_MS} ms in the slow log`,
      unit: '',
      measured: Object.values(slow)
        .flat()
        .filter((took) => took > TOO_LONG_MS).length,
      target: { is: '=', value: 0 },
      samples: { ...longest(slow), 'waited for its core, ms': [waited] },
    },
  ];
}

interface SubjectMeter {
  warmUp(ms: number): Promise<unknown>;
  learnIdle(ms: number): Promise<void>;
  /** CPU of broker and Redis per full cycle, in µs. */
  perCycle(ms: number): Promise<number>;
}

function meterOf({ broker, redis, load }: Subject): SubjectMeter {
  const meter = new CycleMeter({
    cpuMs: async () => cpuMs(broker.pid) + (await redis.cpuMs()),
    settled: () => pruned(broker.url),
  });
  const cycles = (ms: number): Promise<{ cycles: number }> =>
    load.call('cycles', { protocol: 'lessor', port: broker.port, connections: CONNECTIONS, ms });
  return {
    async warmUp(ms) {
      await cycles(ms);
      await pruned(broker.url);
    },
    learnIdle: (ms) => meter.learnIdle(() => sleep(ms)),
    perCycle: (ms) => meter.perCycle(() => cycles(ms)),
  };
}

/** Does everything to the large queue that its size might make slow, and ends by deleting it. */
async function useEverything({ broker: { url, port }, load }: Subject, many: number): Promise<void> {
  for (const state of ['ready', 'completed', 'scheduled']) {
    await ask(url, 'GET', `/tasks?queue=${QUEUE}&state=${state}&limit=1000`);
  }
  await ask(url, 'GET', `/tasks?queue=${QUEUE}&type=none&limit=1000`);
  await ask(url, 'GET', `/queues/${QUEUE}`);
  await ask(url, 'GET', '/queues?limit=1000');
  await ask(url, 'PATCH', `/queues/${QUEUE}`, { maxAttempts: 7 });

  await load.call('seed', { port, tasks: many, runAt: Date.now() + 5000 });
  await sleep(6000);
  await lease(url, QUEUE, many / 4, 1000);
  await sleep(2000);
  const held = await lease(url, QUEUE, 1000, 60_000);
  const dead = held.map((item) => ({ ...item, op: 'nack', retryable: false }));
  await ask(url, 'POST', '/leases/settle', { items: dead });
  for (const { id } of dead.slice(0, 100)) await ask(url, 'POST', `/tasks/${id}/redrive`);
  const page = (await ask(url, 'GET', `/tasks?queue=${QUEUE}&state=ready&limit=100`)) as { tasks: { id: string }[] };
  for (const { id } of page.tasks) await ask(url, 'POST', `/tasks/${id}/cancel`, { force: true });
  const acked = (await lease(url, QUEUE, 1000, 60_000)).map((item) => ({ ...item, op: 'ack' }));
  await ask(url, 'POST', '/leases/settle', { items: acked });
  await ask(url, 'DELETE', `/queues/${spreadQueue(0)}?force=true`);
  await ask(url, 'POST', `/queues/${QUEUE}/purge`, { states: ['completed', 'dead', 'cancelled', 'ready'] });
  await ask(url, 'DELETE', `/queues/${QUEUE}?force=true`);
}

/** How long scripts took, in ms, by name: what Redis has noted. */
async function slowScripts(redis: RedisServer): Promise<Record<string, number[]>> {
  const entries = (await redis.client.slowlog('GET', -1)) as [id: number, at: number, us: number, command: string[]][];
  const slow: Record<string, number[]> = {};
  for (const [, , us, [command = '', called = '']] of entries) {
    if (command.toLowerCase() !== 'fcall') continue;
    const name = called.slice(called.indexOf('_', LIBRARY_PREFIX.length) + 1);
    slow[name] = [...(slow[name] ?? []), us / 1000];
  }
  return slow;
}

/** The slowest calls of each script. */
function longest(slow: Record<string, number[]>): Record<string, number[]> {
  return Object.fromEntries(
    Object.entries(slow).map(([name, took]) => [`${name}, ms`, took.toSorted((a, b) => b - a).slice(0, 10)]),
  );
}
