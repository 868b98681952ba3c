import { admin, infoField } from '../../support/redis-admin.ts';
import { startCluster } from '../../support/redis-cluster.ts';
import { startRedisPair } from '../../support/redis-pair.ts';
import { startSentinel } from '../../support/redis-sentinel.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import { startTcpLink } from '../../support/tcp-link.ts';
import { until } from '../../support/until.ts';

/** A primary whose replicas can be cut off and promoted then, once. */
export interface FailoverScene {
  /** For brokers. */
  readonly url: string;
  /** From now on replicas get nothing of what the primary takes. Clients are told of nothing. */
  cutOff(): Promise<void>;
  /**
   * SIGKILL of the primary that holds most keys; a replica is promoted as it is, and the killed server comes back as its replica.
   * @param prefix of those keys
   */
  failOver(prefix: string): Promise<void>;
  stop(): Promise<void>;
}

/** A primary and a replica; the way between the two goes dark, which neither of them notices. For one failover. */
export async function openPair(): Promise<FailoverScene> {
  const pair = await startRedisPair();
  // Where the broker looks for Redis: a name that leads to whichever is the primary.
  const name = await startTcpLink(pair.primary.port);
  return {
    url: `redis://127.0.0.1:${name.port}`,
    cutOff: async () => pair.link.swallow(),
    async failOver() {
      await pair.primary.kill();
      pair.link.lead(pair.primary.port);
      await pair.onReplica.replicaof('NO', 'ONE');
      name.lead(pair.replica.port);
      await pair.primary.restart();
      await until(() => pair.onPrimary.replicaof('127.0.0.1', pair.replica.port).catch(() => null));
    },
    async stop() {
      await name.stop();
      await pair.stop();
    },
  };
}

/** The same with another replica, which follows the primary all the time and is not the one that is promoted. For one failover. */
export async function openTrio(): Promise<FailoverScene> {
  const pair = await openPair();
  const other = await startRedis({ args: ['--repl-diskless-sync-delay', '0', ...follow(pair.url)] });
  const follows = (): Promise<boolean> =>
    until(() => infoField(other.port, 'replication', 'master_link_status').then((status) => status === 'up'), {
      what: 'the other replica is in step',
    });
  await follows();
  return {
    url: pair.url,
    cutOff: () => pair.cutOff(),
    failOver: (prefix) => pair.failOver(prefix),
    async stop() {
      await other.stop();
      await pair.stop();
    },
  };
}

function follow(url: string): string[] {
  const { hostname, port } = new URL(url);
  return ['--replicaof', hostname, port];
}

/** A primary, two replicas, and Sentinels that promote one of them. For one failover. */
export async function openSentinel(): Promise<FailoverScene> {
  const sentinel = await startSentinel();
  let replicas: readonly RedisServer[] = [];
  return {
    url: sentinel.url,
    stop: () => sentinel.stop(),
    async cutOff() {
      const now = await sentinel.primary();
      replicas = sentinel.servers.filter((server) => server !== now);
      await Promise.all(replicas.map(lockOut));
    },
    async failOver() {
      const old = await sentinel.crash();
      await Promise.all(replicas.map(letIn));
      await old.restart();
    },
  };
}

/** Three primaries with a replica each, of which the cluster promotes one. For one failover. */
export async function openCluster(): Promise<FailoverScene> {
  const cluster = await startCluster();
  let primaries: readonly RedisServer[] = [];
  const replicas = (): readonly RedisServer[] => cluster.nodes.filter((node) => !primaries.includes(node));
  return {
    url: cluster.url,
    stop: () => cluster.stop(),
    async cutOff() {
      primaries = await cluster.primaries();
      await Promise.all(replicas().map(lockOut));
    },
    async failOver(prefix) {
      const sizes = await Promise.all(
        primaries.map(async (node) => {
          const keys = await admin(node.port, (redis) => redis.keys(`${prefix}:*`));
          return { node, keys: keys.length };
        }),
      );
      sizes.sort((a, b) => b.keys - a.keys);
      const old = await cluster.crash(sizes[0]?.node);
      await Promise.all(replicas().map(letIn));
      await old.restart();
    },
  };
}

/** A replica loses its connection, and the next ones fail because it presents a password that nobody has set. */
async function lockOut({ port }: RedisServer): Promise<void> {
  await admin(port, async (redis) => {
    await redis.config('SET', 'masterauth', 'nobody-has-set-it');
    await redis.call('CLIENT', 'KILL', 'TYPE', 'master');
  });
}

async function letIn({ port }: RedisServer): Promise<void> {
  await admin(port, (redis) => redis.config('SET', 'masterauth', ''));
}
