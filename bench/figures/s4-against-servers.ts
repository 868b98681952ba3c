import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import type { Protocol } from '../load/cycles.ts';
import { LoadShare } from '../load/load-share.ts';
import { PeerMissing } from '../peers/cache.ts';
import { GO_PEERS } from '../peers/go-peers.ts';
import { ANYWHERE, describeCores } from '../process/cores.ts';
import { makeFolder } from '../process/folder.ts';
import { startBunqueue } from '../servers/bunqueue.ts';
import { startFaktory } from '../servers/faktory.ts';
import { type LessorOptions, startLessor } from '../servers/lessor.ts';
import { startLmstfy } from '../servers/lmstfy.ts';
import type { PeerServer } from '../servers/peer-server.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { keepNothing, removed } from '../servers/retention.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const CONNECTIONS = 64;

export const againstServers: Figure = {
  id: 's4',
  title: 'Full cycles, one request for each step, against other servers',
  // Peers are built the first time.
  longestMs: 1_200_000,
  run,
};

/** A peer, and the Lessor it is compared with. */
interface Pair {
  what: string;
  protocol: Protocol;
  start: () => Promise<PeerServer>;
  lessor: (redisUrl: string, folder: string) => LessorOptions;
}

async function run(bench: Bench): Promise<Row[]> {
  const build = !bench.quick;
  const onRedis = (url: string): LessorOptions => ({ store: url });
  const pairs: Pair[] = [
    {
      what: `on Redis ÷ lmstfy ${GO_PEERS.lmstfy.version}`,
      protocol: 'lmstfy',
      start: () => startLmstfy(build),
      lessor: onRedis,
    },
    {
      what: `on Redis ÷ Faktory ${GO_PEERS.faktory.version}`,
      protocol: 'faktory',
      start: () => startFaktory(build),
      lessor: onRedis,
    },
    {
      what: 'embedded, full ÷ bunqueue, durable',
      protocol: 'bunqueue durable',
      start: startBunqueue,
      lessor: (_, folder) => ({ store: `sqlite:${folder}/full.db`, durability: 'full' }),
    },
    {
      what: 'embedded, normal ÷ bunqueue, default',
      protocol: 'bunqueue buffered',
      start: startBunqueue,
      lessor: (_, folder) => ({ store: `sqlite:${folder}/normal.db`, durability: 'normal' }),
    },
  ];
  bench.condition(`${CONNECTIONS} connections, one request under way on each; takers wait as their clients do`);
  bench.condition(`${describeCores(ANYWHERE)}; Redis: ${REDIS_SETTINGS}`);
  bench.condition('all: what is acknowledged is removed (Lessor: completedMs 0, and its rounds end when none is left)');
  bench.condition('lmstfy: the same Redis settings; its ack names no owner, its take is two steps');
  bench.condition(
    'Faktory: its own protocol over TCP instead of HTTP, its own Redis with snapshots only, acks name no owner',
  );
  bench.condition(
    'bunqueue: removeOnComplete; durable is written to the log but not synced to the disk, where full is; its acks name no owner',
  );
  const rows: Row[] = [];
  for (const pair of pairs) {
    bench.progress(pair.what);
    try {
      rows.push(...(await compare(bench, pair)));
    } catch (error) {
      if (!(error instanceof PeerMissing)) throw error;
      bench.skip(`${pair.what}: ${error.message}`);
    }
  }
  return rows;
}

async function compare(bench: Bench, { what, protocol, start, lessor }: Pair): Promise<Row[]> {
  await using peer = await start();
  await using folder = await makeFolder('s4');
  await using redis = await startRedis();
  await using broker = await startLessor(lessor(redis.url, folder.path));
  await using load = await startLoad();

  await keepNothing(broker.url);
  const share = new LoadShare(load);

  const perSecond = async (of: Protocol, port: number, ms: number): Promise<number> => {
    const { cycles, ms: took } = await share.during(() =>
      load.call('cycles', { protocol: of, port, connections: CONNECTIONS, ms }),
    );
    const ended = performance.now();
    if (of === 'lessor') await removed(broker.url);
    return (1000 * cycles) / (took + performance.now() - ended);
  };

  const warmUpMs = bench.dose(2000, 1000);
  const ms = bench.dose(3000, 1500);
  await perSecond('lessor', broker.port, warmUpMs);
  await perSecond(protocol, peer.port, warmUpMs);
  const samples = await inTurn(bench.dose(3, 2), {
    lessor: () => perSecond('lessor', broker.port, ms),
    peer: () => perSecond(protocol, peer.port, ms),
  });
  const ratio = ratios(samples.lessor, samples.peer);
  bench.condition(`${what}: ${share.words()}`);
  return [
    {
      what,
      unit: '×',
      measured: median(ratio),
      target: { is: '>', value: 1 },
      samples: { ratio, 'Lessor, cycles/s': samples.lessor, 'peer, cycles/s': samples.peer },
    },
  ];
}
