import { admin, infoField } from './redis-admin.ts';
import { type RedisServer, startRedis } from './redis-server.ts';
import { until } from './until.ts';

/** What the Sentinels call the primary. */
const SENTINEL_PRIMARY = 'main';
/** Sentinels ask once a second: much less, and the new primary counts as down before they have asked it, and is replaced as well. */
const DOWN_AFTER_MS = 3000;
const TILT_MS = 1000;
const FAILOVER_TIMEOUT_MS = 3000;
const QUORUM = 2;
/** Longer than a planned failover takes until everybody knows of it. */
const PAUSE_MS = 10_000;
const FAILOVER = { timeoutMs: 60_000 };

/** A primary, two replicas and three Sentinels, real ones on loopback. */
export interface RedisSentinel {
  /** `redis+sentinel://…/main`. */
  readonly url: string;
  readonly servers: readonly RedisServer[];
  readonly sentinels: readonly RedisServer[];
  /** The server that the Sentinels call the primary now. */
  primary(): Promise<RedisServer>;
  /**
   * A failover as one plans it, in which nothing is lost: writes pause, a replica has them all, SENTINEL FAILOVER. Resolves when there
   * is another primary, which the old one has been told to follow; the Sentinels would take longer for that.
   */
  failOver(): Promise<void>;
  /** SIGKILL of the primary; resolves when there is another. */
  crash(): Promise<RedisServer>;
  /** SIGSTOP of the primary; resolves when there is another. The old one is to be thawed by the caller. */
  freeze(): Promise<RedisServer>;
  /** Resolves when there is one primary, and everybody else is a replica that has caught up. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

export interface RedisSentinelOptions {
  appendonly?: boolean;
  /** After so long without an answer a server counts as failed: short when left out, so that a replica takes over soon. */
  downAfterMs?: number;
  /** More arguments for the servers with the data. */
  args?: readonly string[];
}

export async function startSentinel(options: RedisSentinelOptions = {}): Promise<RedisSentinel> {
  const { appendonly = false, downAfterMs = DOWN_AFTER_MS, args = [] } = options;
  // A file, because the Sentinels have the servers note there whom they follow.
  const file = [
    ...['save ""', 'maxmemory-policy noeviction', 'repl-diskless-sync-delay 0', 'repl-ping-replica-period 1'],
    ...(appendonly ? ['appendonly yes', 'appendfsync always'] : []),
  ];
  const first = await startRedis({ args, file });
  const following = [...file, `replicaof 127.0.0.1 ${first.port}`];
  const replicas = await Promise.all([1, 2].map(() => startRedis({ args, file: following })));
  const servers = [first, ...replicas];
  const sentinels = await Promise.all(
    [1, 2, 3].map(() =>
      startRedis({
        ready: '+monitor',
        args: ['--sentinel'],
        file: [
          `sentinel monitor ${SENTINEL_PRIMARY} 127.0.0.1 ${first.port} ${QUORUM}`,
          `sentinel down-after-milliseconds ${SENTINEL_PRIMARY} ${downAfterMs}`,
          `sentinel failover-timeout ${SENTINEL_PRIMARY} ${FAILOVER_TIMEOUT_MS}`,
        ],
      }),
    ),
  );

  // On a machine that has stood still they would do nothing for half a minute.
  await Promise.all(
    sentinels.map(({ port }) => admin(port, (redis) => redis.call('SENTINEL', 'DEBUG', 'TILT-PERIOD', TILT_MS))),
  );

  /** What a Sentinel knows of the primary. */
  async function known({ port }: RedisServer): Promise<Record<string, string>> {
    const reply = await admin(port, (redis) => redis.call('SENTINEL', 'MASTER', SENTINEL_PRIMARY));
    const words = Array.isArray(reply) ? reply.map(String) : [];
    return Object.fromEntries(words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1] ?? '']] : [])));
  }

  async function primary(): Promise<RedisServer> {
    return until(
      async () => {
        const ports = await Promise.all(sentinels.map(async (sentinel) => (await known(sentinel))['port']));
        return new Set(ports).size === 1 ? servers.find(({ port }) => String(port) === ports[0]) : undefined;
      },
      { ...FAILOVER, what: 'the Sentinels agree' },
    );
  }

  /** Resolves when the Sentinels have another primary than this one, and that takes writes. */
  async function replaced(old: RedisServer): Promise<void> {
    await until(
      async () => {
        const now = await primary();
        return now !== old && (await infoField(now.port, 'replication', 'role')) === 'master';
      },
      { ...FAILOVER, what: 'another server is the primary' },
    );
  }

  async function caughtUp(old: RedisServer): Promise<void> {
    const others = servers.filter((server) => server !== old);
    await until(
      async () => {
        const at = await infoField(old.port, 'replication', 'master_repl_offset');
        const theirs = await Promise.all(others.map(({ port }) => infoField(port, 'replication', 'slave_repl_offset')));
        return theirs.every((offset) => offset === at);
      },
      { ...FAILOVER, what: 'the replicas have all writes' },
    );
  }

  async function settled(): Promise<void> {
    await until(
      async () => {
        // A busy machine may bring about another failover meanwhile.
        const now = await primary();
        const others = servers.filter((server) => server !== now);
        const links = await Promise.all(
          others.map(async ({ port }) => [
            await infoField(port, 'replication', 'master_link_status'),
            await infoField(port, 'replication', 'master_port'),
          ]),
        );
        const heard = await Promise.all(sentinels.map(known));
        return (
          links.every(([status, port]) => status === 'up' && port === String(now.port)) &&
          heard.every(
            (state) =>
              state['num-slaves'] === '2' && state['num-other-sentinels'] === '2' && state['flags'] === 'master',
          )
        );
      },
      { ...FAILOVER, what: 'all replicas follow the primary, and all Sentinels know of each other' },
    );
  }

  await settled();
  return {
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${SENTINEL_PRIMARY}`,
    servers,
    sentinels,
    primary,
    settled,
    async failOver() {
      const old = await primary();
      // Sentinels do not ask the old primary to stop: what it takes meanwhile would be lost.
      await admin(old.port, (redis) => redis.call('CLIENT', 'PAUSE', PAUSE_MS, 'WRITE'));
      await caughtUp(old);
      const [sentinel] = sentinels;
      await until(
        // Refused while the Sentinels are not done with the one before.
        () =>
          admin(sentinel?.port ?? 0, (redis) => redis.call('SENTINEL', 'FAILOVER', SENTINEL_PRIMARY)).then(
            () => true,
            () => false,
          ),
        { ...FAILOVER, what: 'a Sentinel begins a failover' },
      );
      await replaced(old);
      const { port } = await primary();
      await admin(old.port, async (redis) => {
        await redis.replicaof('127.0.0.1', port);
        await redis.call('CLIENT', 'UNPAUSE');
      });
    },
    async crash() {
      const old = await primary();
      await old.kill();
      await replaced(old);
      return old;
    },
    async freeze() {
      const old = await primary();
      old.freeze();
      await replaced(old);
      return old;
    },
    async stop() {
      await Promise.all([...sentinels, ...servers].map((server) => server.kill()));
      await Promise.all([...sentinels, ...servers].map((server) => server.stop()));
    },
  };
}
