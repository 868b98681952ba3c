import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Figure, Row } from '../figure.ts';
import { type Load, startLoad } from '../load/agent.ts';
import type { Parked } from '../load/parking.ts';
import { QUEUE } from '../load/payload.ts';
import type { Launched } from '../process/launch.ts';
import { cpuPercent, openFiles } from '../process/usage.ts';
import { startBare } from '../servers/bare.ts';
import { settledMemory, startLessor } from '../servers/lessor.ts';
import { startRedis } from '../servers/redis.ts';

const FILE_LIMIT = 20_000;
const KIB = 1024;
const POLL_MS = 60_000;
const POLL = `/tasks/lease?queue=${QUEUE}&waitMs=${POLL_MS}`;
/** More than fit under the limit. */
const BEYOND = 1500;

export const parkedPolls: Figure = { id: 's5', title: 'Parked long-polls in one process', run };

/** Parks polls and answers what each costs in memory, in KiB. A first few before that are for what is made once. */
async function memoryPerPoll(
  load: Load,
  server: { process: Launched; port: number },
  path: string,
  polls: number,
): Promise<number> {
  await load.call('park', { port: server.port, polls: 500, path });
  await load.call('unpark', undefined);
  const before = await settledMemory(server.process);
  const parked = await load.call('park', { port: server.port, polls, path });
  if (parked.waiting !== polls) throw new Error(`not all polls were parked: ${describe(parked)}`);
  return ((await settledMemory(server.process)) - before) / polls / KIB;
}

/**
 * Waits, for as long as a poll waits at most, for a time in which none runs out and is sent again: a slow machine takes
 * long to park them all, and then long to renew them. Answers how often one has been renewed so far.
 */
async function undisturbed(load: Load): Promise<number> {
  let { renewed } = await load.call('parkedNow', undefined);
  for (let second = 0; second < POLL_MS / 1000; second++) {
    await sleep(1000);
    const now = (await load.call('parkedNow', undefined)).renewed;
    if (now === renewed) break;
    renewed = now;
  }
  return renewed;
}

function describe({ waiting, answered, failed }: Parked): string {
  return `${waiting} waiting, answered ${JSON.stringify(answered)}, failed ${JSON.stringify(failed)}`;
}

async function run(bench: Bench): Promise<Row[]> {
  const polls = bench.dose(15_000, 3000);
  const fileLimit = bench.dose(FILE_LIMIT, 5000);
  const openFilesAllowed = { openFiles: fileLimit };

  bench.progress('a bare Fastify, for comparison');
  let bareKib: number;
  {
    await using bare = await startBare(openFilesAllowed);
    await using load = await startLoad(openFilesAllowed);
    bareKib = await memoryPerPoll(load, bare, '/parked', polls);
  }

  await using redis = await startRedis();
  await using broker = await startLessor({ store: redis.url, openFiles: fileLimit, collectable: true });
  await using load = await startLoad(openFilesAllowed);
  const connections = (): Promise<number> => redis.info('clients', 'connected_clients');

  // A first poll, because the connection for wake-ups may be made when it is first needed.
  await load.call('park', { port: broker.port, polls: 1, path: POLL });
  const connectionsBefore = await connections();
  await load.call('unpark', undefined);
  bench.progress(`${polls} polls`);
  const kib = await memoryPerPoll(load, broker, POLL, polls);
  const connectionsParked = await connections();
  const before = await undisturbed(load);
  const [idle = Number.NaN] = await cpuPercent([broker.pid], () => sleep(bench.dose(10_000, 3000)));
  const { waiting: held, renewed } = await load.call('parkedNow', undefined);

  bench.progress('more polls than there are files');
  await using more = await startLoad(openFilesAllowed);
  const beyond = await more.call('park', { port: broker.port, polls: fileLimit - polls + BEYOND, path: POLL });
  bench.progress(`beyond the limit: ${describe(beyond)}, ${openFiles(broker.pid)} files open`);
  const refused = beyond.answered['429'] ?? 0;
  const unclear = sum(beyond.failed) + sum(beyond.answered) - refused;
  await more.call('unpark', undefined);
  await load.call('unpark', undefined);
  await sleep(1000);
  const { cycles } = await load.call('cycles', { protocol: 'lessor', port: broker.port, connections: 8, ms: 1000 });

  bench.condition(`one broker on Redis under ulimit -n ${fileLimit}; a connection for each poll; one queue`);
  bench.condition(`idle: ${renewed - before} polls ran out and were sent again in that time`);
  bench.condition('memory: resident set after collecting garbage, with polls less without, per poll');
  return [
    { what: 'polls parked', unit: '', measured: held, target: { is: '>=', value: polls }, samples: {} },
    { what: 'broker memory per poll', unit: 'KiB', measured: kib, target: { is: '<=', value: 20 }, samples: {} },
    { what: 'bare Fastify, memory per request', unit: 'KiB', measured: bareKib, target: null, samples: {} },
    { what: 'idle CPU', unit: '%', measured: idle, target: { is: '<', value: 2 }, samples: {} },
    {
      what: 'Redis connections, with all polls less with one',
      unit: '',
      measured: connectionsParked - connectionsBefore,
      target: { is: '=', value: 0 },
      samples: { 'with one': [connectionsBefore], 'with all': [connectionsParked] },
    },
    { what: 'beyond the limit: clear 429', unit: '', measured: refused, target: { is: '>', value: 0 }, samples: {} },
    {
      what: 'beyond the limit: anything else',
      unit: '',
      measured: unclear,
      target: { is: '=', value: 0 },
      samples: {},
    },
    { what: 'cycles afterwards', unit: '', measured: cycles, target: { is: '>', value: 0 }, samples: {} },
  ];
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
