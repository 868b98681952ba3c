import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Redis } from 'ioredis';
import { startRedis } from '../../support/redis-server.ts';
import { FaultyProxy } from '../../support/faulty-proxy.ts';
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

/** The same with a network that can be made to fail, between clients and brokers and between brokers and Redis. */
export async function openProxied(options: HomeOptions): Promise<Home> {
  const store: FaultyProxy[] = [];
  const home = await open('proxied', options, async (port) => {
    const proxy = await FaultyProxy.start(port);
    store.push(proxy);
    return proxy.port;
  });
  const clients = await Promise.all(home.brokers.map(({ port }) => FaultyProxy.start(port)));
  return {
    ...home,
    urls: clients.map(({ port }) => `http://127.0.0.1:${port}`),
    network: { clients, store },
    async stop() {
      await Promise.all(clients.map((proxy) => proxy.stop()));
      await home.stop();
      await Promise.all(store.map((proxy) => proxy.stop()));
    },
  };
}

/** @param portOf where a broker reaches the Redis that is at this port */
async function open(
  name: string,
  { code }: HomeOptions,
  portOf: (port: number) => Promise<number> = async (port) => port,
): Promise<Home> {
  const redis = await startRedis({ appendonly: true });
  const brokers = await Promise.all(
    Array.from({ length: REPLICAS }, async (_, index) => {
      const url = `redis://127.0.0.1:${await portOf(redis.port)}`;
      return BrokerProcess.start({ name: `${name}-${index + 1}`, code, env: { LESSOR_STORE: url } });
    }),
  );
  return {
    name,
    urls: brokers.map(({ url }) => url),
    brokers,
    redis,
    censusOf: async () => ({ driver: 'redis', url: redis.url, prefix: 'lessor', shards: 64, durability: 'default' }),
    leftovers: () => keysLeft(redis.url),
    async stop() {
      await Promise.all(brokers.map((broker) => broker.stop()));
      await redis.stop();
    },
  };
}

/** Keys that do not end by themselves. */
export async function keysLeft(url: string): Promise<string[]> {
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
