import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Redis } from 'ioredis';
import { startRedis } from '../../support/redis-server.ts';
import { BrokerProcess } from './broker-process.ts';
import type { Home, HomeOptions } from './home.ts';

const REPLICAS = 3;
const PROXY = new URL('../../support/reverse-proxy-thread.ts', import.meta.url);

/** Keys of a shard that stay as long as the data do: its version, and lists of all queues, which hold none now. */
const STAYS = /^lessor:\{\d+\}:(meta|queues)$/;

/** Three brokers on one Redis that syncs its append-only file at every write. */
export async function openRedis(options: HomeOptions): Promise<Home> {
  return open('redis', options);
}

/** The same behind a keep-alive proxy, which is all that clients know of. */
export async function openRolling(options: HomeOptions): Promise<Home> {
  const home = await open('rolling', options);
  const proxy = new Worker(PROXY, { workerData: home.brokers.map(({ port }) => port) });
  const [url] = await once(proxy, 'message');
  return {
    ...home,
    urls: [String(url)],
    async stop() {
      await proxy.terminate();
      await home.stop();
    },
  };
}

async function open(name: string, { code }: HomeOptions): Promise<Home> {
  const redis = await startRedis({ appendonly: true });
  const brokers = await Promise.all(
    Array.from({ length: REPLICAS }, (_, index) =>
      BrokerProcess.start({ name: `${name}-${index + 1}`, code, env: { LESSOR_STORE: redis.url } }),
    ),
  );
  return {
    name,
    urls: brokers.map(({ url }) => url),
    brokers,
    redis,
    leftovers: () => keysLeft(redis.url),
    async stop() {
      await Promise.all(brokers.map((broker) => broker.stop()));
      await redis.stop();
    },
  };
}

/** Keys that do not end by themselves. */
async function keysLeft(url: string): Promise<string[]> {
  const client = new Redis(url);
  try {
    const left: string[] = [];
    for (const key of await client.keys('lessor:*')) {
      if (!STAYS.test(key) && (await client.pttl(key)) === -1) left.push(key);
    }
    return left.sort();
  } finally {
    client.disconnect();
  }
}
