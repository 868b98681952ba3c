import { startCluster } from '../../support/redis-cluster.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { startSentinel } from '../../support/redis-sentinel.ts';
import { BrokerProcess } from './broker-process.ts';
import type { Failovers, Home, HomeName, HomeOptions } from './home.ts';
import { keysLeft } from './redis.ts';

const BROKERS = 3;
/** Longer than a busy machine stands still: nothing should fail over that was not told to. */
const NODE_TIMEOUT_MS = 3000;

/**
 * Three brokers, `replicated:2`, on a primary with two replicas and three Sentinels. Both have to confirm: Sentinels may promote either,
 * and do so now and then while the old primary and the other one still follow each other.
 */
export async function openSentinel(options: HomeOptions): Promise<Home> {
  const sentinel = await startSentinel();
  return open(
    'sentinel',
    {
      ...sentinel,
      replicas: 2,
      primaries: async () => [await sentinel.primary()],
      output: () => [...sentinel.sentinels, ...sentinel.servers].map(lastWords).join('\n'),
    },
    options,
  );
}

/** Three brokers, `replicated:1`, on a cluster of three primaries with a replica each. */
export async function openCluster(options: HomeOptions): Promise<Home> {
  const cluster = await startCluster({ nodeTimeoutMs: NODE_TIMEOUT_MS });
  return {
    ...(await open(
      'cluster',
      { ...cluster, replicas: 1, output: () => cluster.nodes.map(lastWords).join('\n') },
      options,
    )),
    cluster,
  };
}

function lastWords({ port, output }: RedisServer): string {
  return `the server on port ${port} said last:\n${output}\n`;
}

async function open(name: HomeName, failovers: Failovers, { code }: HomeOptions): Promise<Home> {
  const env = { LESSOR_STORE: failovers.url, LESSOR_DURABILITY: `replicated:${failovers.replicas}` };
  const brokers = await Promise.all(
    Array.from({ length: BROKERS }, (_, index) => BrokerProcess.start({ name: `${name}-${index + 1}`, code, env })),
  );
  return {
    name,
    urls: brokers.map(({ url }) => url),
    brokers,
    redis: null,
    failovers,
    censusOf: async () => ({
      driver: 'redis',
      url: failovers.url,
      prefix: 'lessor',
      shards: 64,
      durability: 'default',
    }),
    async leftovers() {
      const left = await Promise.all((await failovers.primaries()).map(({ url }) => keysLeft(url)));
      return left.flat();
    },
    async stop() {
      await Promise.all(brokers.map((broker) => broker.stop()));
      await failovers.stop();
    },
  };
}
