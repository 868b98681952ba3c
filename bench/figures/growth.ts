import { setTimeout as sleep } from 'node:timers/promises';
import { LIBRARY_PREFIX } from '../../src/store/redis/library.ts';
import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import { QUEUE } from '../load/payload.ts';
import { spreadQueue } from '../load/seed.ts';
import { apart, describeCores } from '../process/cores.ts';
import { cpuMs } from '../process/usage.ts';
import { ask, lease } from '../servers/api.ts';
import { type Lessor, startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, type RedisServer, startRedis } from '../servers/redis.ts';
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
  // Redis has its core for itself: the slow log counts the time in which others had it, too.
  const pinned = apart();
  const cores = { ...pinned, load: pinned.server };
  const waiting = bench.dose(200_000, 20_000);
  const queues = bench.dose(10_000, 1000);
  const parked = bench.dose(5000, 500);
  const finished = bench.dose(20_000, 5000);
  await using plainRedis = await startRedis({ cores: cores.redis });
  await using grownRedis = await startRedis({ cores: cores.redis });
  await using plainBroker = await startLessor({ store: plainRedis.url, cores: cores.server });
  await using grownBroker = await startLessor({ store: grownRedis.url, cores: cores.server });
  await using load = await startLoad({ cores: cores.load });
  const plain: Subject = { broker: plainBroker, redis: plainRedis, load };
  const grown: Subject = { broker: grownBroker, redis: grownRedis, load };
  const { port } = grownBroker;

  await grownRedis.client.config('SET', 'slowlog-log-slower-than', NOTED_US);
  await grownRedis.client.config('SET', 'slowlog-max-len', 10_000);
  bench.progress('growing');
  await load.call('batches', { port, producers: 4, workers: 4, batch: 100, tasks: finished });
  await load.call('seed', { port, tasks: waiting });
  await load.call('seed', { port, tasks: queues, queues });
  await load.call('park', { port, polls: parked, path: '/tasks/lease?queue=elsewhere&waitMs=60000' });

  bench.progress('comparing');
  const ms = bench.dose(2500, 1000);
  for (const subject of [plain, grown]) await perCycle(subject, ms);
  const samples = await inTurn(bench.dose(4, 2), {
    plain: () => perCycle(plain, ms),
    grown: () => perCycle(grown, ms),
  });
  const ratio = ratios(samples.grown, samples.plain);
  await load.call('unpark', undefined);

  bench.progress('everything that can be done to a large queue');
  await useEverything(grown, bench.dose(20_000, 2000));
  const slow = await slowScripts(grownRedis);

  bench.condition(
    `grown: ${waiting} tasks waiting in the queue, ${queues} other queues, ${parked} parked polls, ${finished} finished tasks`,
  );
  bench.condition(`CPU of broker and Redis per full cycle, ${CONNECTIONS} connections, one request for each step`);
  bench.condition(
    'scripts: batches of 1000, leases of 100, settles, lists, mass expiry and promotion, cancel, redrive, purge, delete',
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
      samples: longest(slow),
    },
  ];
}

/** CPU of broker and Redis per full cycle, in µs. */
async function perCycle({ broker, redis, load }: Subject, ms: number): Promise<number> {
  const before = cpuMs(broker.pid) + (await redis.cpuMs());
  const { cycles } = await load.call('cycles', { protocol: 'lessor', port: broker.port, connections: CONNECTIONS, ms });
  return (1000 * (cpuMs(broker.pid) + (await redis.cpuMs()) - before)) / cycles;
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
