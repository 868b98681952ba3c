import type { Bench, Figure, Row } from '../figure.ts';
import { startLoad } from '../load/agent.ts';
import { PAYLOAD_TEXT } from '../load/payload.ts';
import { startBullMq } from '../peers/bullmq-agent.ts';
import { PeerMissing } from '../peers/cache.ts';
import { installNpmPeers } from '../peers/npm-peers.ts';
import { startLessor } from '../servers/lessor.ts';
import { type RedisServer, startRedis } from '../servers/redis.ts';

/** Tasks that are there before memory is compared: what is made once, such as scripts, is there then too. */
const FIRST = 1000;

export const redisMemory: Figure = { id: 's8', title: 'Redis memory per waiting task beyond its payload', run };

async function run(bench: Bench): Promise<Row[]> {
  const tasks = bench.dose(200_000, 20_000);
  const lessor = await lessorBytes(tasks);
  bench.condition(
    `used_memory of Redis with ${tasks} tasks waiting more than ${FIRST} waiting less with those, less ${PAYLOAD_TEXT.length} bytes of payload each`,
  );
  const rows: Row[] = [{ what: 'Lessor', unit: 'B', measured: lessor, target: { is: '<=', value: 350 }, samples: {} }];
  try {
    const { versions } = installNpmPeers();
    const bullMq = await bullMqBytes(tasks);
    rows.push(
      {
        what: `÷ BullMQ ${versions['bullmq']}`,
        unit: '×',
        measured: lessor / bullMq,
        target: { is: '<=', value: 1 },
        samples: { 'Lessor and BullMQ, B': [lessor, bullMq] },
      },
      { what: `BullMQ ${versions['bullmq']}`, unit: 'B', measured: bullMq, target: null, samples: {} },
    );
  } catch (error) {
    if (!(error instanceof PeerMissing)) throw error;
    bench.skip(`BullMQ: ${error.message}`);
  }
  return rows;
}

async function lessorBytes(tasks: number): Promise<number> {
  await using redis = await startRedis();
  await using broker = await startLessor({ store: redis.url });
  await using load = await startLoad();
  const { port } = broker;
  await load.call('seed', { port, tasks: FIRST });
  return await growth(redis, tasks, () => load.call('seed', { port, tasks }));
}

async function bullMqBytes(jobs: number): Promise<number> {
  await using redis = await startRedis();
  await using producer = await startBullMq();
  const produce = (count: number): Promise<void> =>
    producer.call('produce', { port: redis.port, jobs: count, batch: 1000, atOnce: 1 });
  await produce(FIRST);
  return await growth(redis, jobs, () => produce(jobs));
}

/** Memory per task beyond its payload, in bytes. */
async function growth(redis: RedisServer, tasks: number, fill: () => Promise<unknown>): Promise<number> {
  const before = await redis.info('memory', 'used_memory');
  await fill();
  return ((await redis.info('memory', 'used_memory')) - before) / tasks - PAYLOAD_TEXT.length;
}
