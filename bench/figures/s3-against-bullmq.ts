import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { LoadShare } from '../load/load-share.ts';
import { startBullMq } from '../peers/bullmq-agent.ts';
import { PeerMissing } from '../peers/cache.ts';
import { installNpmPeers } from '../peers/npm-peers.ts';
import { ANYWHERE, describeCores } from '../process/cores.ts';
import { startLessor } from '../servers/lessor.ts';
import { REDIS_SETTINGS, startRedis } from '../servers/redis.ts';
import { keepNothing, removed } from '../servers/retention.ts';
import { inTurn, median, ratios } from '../statistics.ts';

const BATCH = 100;
/** Batches that are being posted at once, on both sides. */
const PRODUCERS = 8;
const WORKERS = 8;
const BULLMQ_CONCURRENCY = 64;

export const againstBullMq: Figure = {
  id: 's3',
  title: 'Full cycles in batches of 100, one broker process, against BullMQ',
  run,
};

async function run(bench: Bench): Promise<Row[]> {
  const version = bullMqVersion(bench);
  if (version === null) return [];
  await using redis = await startRedis();
  await using bullRedis = await startRedis();
  await using broker = await startLessor({ store: redis.url });
  await using load = await startLoad();
  await using producer = await startBullMq();
  await using worker = await startBullMq();
  await worker.call('work', { port: bullRedis.port, concurrency: BULLMQ_CONCURRENCY });
  await keepNothing(broker.url);
  const share = new LoadShare(load);

  async function lessor(tasks: number): Promise<number> {
    const { port, url } = broker;
    const { ms } = await share.during(() =>
      load.call('batches', { port, producers: PRODUCERS, workers: WORKERS, batch: BATCH, tasks }),
    );
    const acknowledged = performance.now();
    await removed(url);
    return (1000 * tasks) / (ms + performance.now() - acknowledged);
  }

  async function bullMq(jobs: number): Promise<number> {
    const allDone = worker.call('complete', { jobs });
    const start = performance.now();
    await producer.call('produce', { port: bullRedis.port, jobs, batch: BATCH, atOnce: PRODUCERS });
    await allDone;
    return (1000 * jobs) / (performance.now() - start);
  }

  const warmUp = bench.dose(10_000, 2000);
  await lessor(warmUp);
  await bullMq(warmUp);
  const count = bench.dose(40_000, 8000);
  const samples = await inTurn(bench.dose(5, 2), { lessor: () => lessor(count), bullMq: () => bullMq(count) });
  const ratio = ratios(samples.lessor, samples.bullMq);
  await worker.call('stop', undefined);

  bench.condition(`${count} tasks a round; ${PRODUCERS} batches of ${BATCH} being posted at once on both sides`);
  bench.condition(
    `BullMQ ${version}: addBulk in one process, a worker of concurrency ${BULLMQ_CONCURRENCY} that does nothing in another, removeOnComplete`,
  );
  bench.condition(
    `Lessor: ${WORKERS} connections that lease ${BATCH} and settle ${BATCH}; ${share.words()}, beside the broker and Redis`,
  );
  bench.condition(
    'completed tasks are removed at once on both sides (completedMs 0, removeOnComplete); a round ends when none is left',
  );
  bench.condition(`two Redis servers with the same settings (${REDIS_SETTINGS}); ${describeCores(ANYWHERE)}`);
  return [
    {
      what: `on Redis ÷ BullMQ ${version}`,
      unit: '×',
      measured: median(ratio),
      target: { is: '>=', value: 5 },
      samples: { ratio, 'Lessor, cycles/s': samples.lessor, 'BullMQ, cycles/s': samples.bullMq },
    },
  ];
}

function bullMqVersion(bench: Bench): string | null {
  try {
    return installNpmPeers().versions['bullmq'] ?? null;
  } catch (error) {
    if (!(error instanceof PeerMissing)) throw error;
    bench.skip(`BullMQ: ${error.message}`);
    return null;
  }
}
