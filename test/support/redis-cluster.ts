import type { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { admin, connect, infoField } from './redis-admin.ts';
import { type RedisServer, startRedis } from './redis-server.ts';
import { until } from './until.ts';

const SLOTS = 16_384;
const PRIMARIES = 3;
const NODE_TIMEOUT_MS = 1000;
const KEYS_A_STEP = 100;
const SLOTS_A_STEP = 128;
const PATIENT = { timeoutMs: 60_000 };
/** A node that has lost its last slot follows another by itself. Redis refuses calls then, Valkey ends connections. */
const FOLLOWS_NOW = /only with (?:masters|primaries)|^UNBLOCKED|Connection is closed/;

/** Three primaries with a replica each, real ones on loopback. */
export interface RedisCluster {
  /** `redis+cluster://…`, of all nodes it was made with. */
  readonly url: string;
  /** All nodes that there are now. */
  readonly nodes: readonly RedisServer[];
  /** The primaries, in the order of their slots. */
  primaries(): Promise<RedisServer[]>;
  /** CLUSTER FAILOVER of a primary, as one plans it; resolves when its replica has taken over. */
  failOver(primary?: RedisServer): Promise<void>;
  /** SIGKILL of a primary; resolves when its replica has taken over. */
  crash(primary?: RedisServer): Promise<RedisServer>;
  /** SIGSTOP of a primary; resolves when its replica has taken over. The old one is to be thawed by the caller. */
  freeze(primary?: RedisServer): Promise<RedisServer>;
  /** Moves slots with all their keys to a primary, few slots at a time, by the steps of `redis-cli --cluster reshard`. */
  reshard(slots: readonly number[], to: RedisServer): Promise<void>;
  /** A new node joins, takes over all slots of a primary, whose replica follows it; the old node is removed. */
  replaceNode(old?: RedisServer): Promise<RedisServer>;
  /** Resolves when all nodes agree on who serves what, and replicas have caught up. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

export interface RedisClusterOptions {
  /** After so long without an answer a node counts as failed: short when left out, so that a replica takes over soon. */
  nodeTimeoutMs?: number;
  appendonly?: boolean;
  /** More arguments for the nodes. */
  args?: readonly string[];
}

interface Node {
  id: string;
  port: number;
  primary: boolean;
  primaryId: string;
  failed: boolean;
  slots: readonly (readonly [number, number])[];
}

async function startNode({
  nodeTimeoutMs = NODE_TIMEOUT_MS,
  appendonly = false,
  args = [],
}: RedisClusterOptions): Promise<RedisServer> {
  const busPort = await freePort();
  return startRedis({
    appendonly,
    args: [
      ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-port', String(busPort)],
      ...['--cluster-node-timeout', String(nodeTimeoutMs), '--cluster-replica-validity-factor', '0'],
      ...['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'],
      ...args,
    ],
  });
}

function readNodes(text: string): Node[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [id = '', address = '', flags = '', primaryId = '', , , , , ...slots] = line.trim().split(' ');
      return {
        id,
        port: Number(/:(\d+)@/.exec(address)?.[1] ?? 0),
        primary: flags.includes('master'),
        primaryId,
        failed: /fail|handshake|noaddr/.test(flags),
        slots: slots.flatMap((range) => {
          const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
          return first === undefined ? [] : [[Number(first), Number(last)] as const];
        }),
      };
    });
}

export async function startCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const nodes = await Promise.all(Array.from({ length: 2 * PRIMARIES }, () => startNode(options)));
  const url = `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;

  const viewOf = async ({ port }: RedisServer): Promise<Node[]> =>
    readNodes(String(await admin(port, (redis) => redis.call('CLUSTER', 'NODES'))));
  const idOf = async ({ port }: RedisServer): Promise<string> =>
    String(await admin(port, (redis) => redis.call('CLUSTER', 'MYID')));
  const cluster = (server: RedisServer, ...words: (string | number)[]): Promise<unknown> =>
    admin(server.port, (redis) => redis.call('CLUSTER', ...words));
  const busPortOf = async ({ port }: RedisServer): Promise<string> =>
    /:\d+@(\d+)/.exec(
      String(await admin(port, (redis) => redis.call('CLUSTER', 'NODES')))
        .split('\n')
        .find((line) => line.includes('myself')) ?? '',
    )?.[1] ?? '';

  /** The view of the nodes that answer, once they agree. */
  async function agreed(among: readonly RedisServer[] = nodes): Promise<Node[]> {
    return until(
      async () => {
        const views = await Promise.all(among.map((node) => viewOf(node).catch(() => null)));
        const seen = views.filter((view) => view !== null);
        const pictures = seen.map((view) =>
          view
            .filter(({ primary, slots }) => primary && slots.length > 0)
            .map(({ id, slots }) => `${id} ${slots.join(' ')}`)
            .sort()
            .join('|'),
        );
        return seen.length === among.length && new Set(pictures).size === 1 ? seen[0] : undefined;
      },
      { ...PATIENT, what: 'the nodes agree' },
    );
  }

  const running = (without?: RedisServer): RedisServer[] => nodes.filter((node) => node !== without);

  async function primaries(among?: readonly RedisServer[]): Promise<RedisServer[]> {
    const owners = (await agreed(among)).filter(({ primary, slots }) => primary && slots.length > 0);
    owners.sort((a, b) => (a.slots[0]?.[0] ?? 0) - (b.slots[0]?.[0] ?? 0));
    return owners.flatMap(({ port }) => nodes.filter((node) => node.port === port));
  }

  async function somePrimary(given: RedisServer | undefined): Promise<RedisServer> {
    const [first] = given ? [given] : await primaries();
    if (first === undefined) throw new Error('the cluster has no primary');
    return first;
  }

  /** Resolves when others than this node serve all slots. */
  async function replaced(old: RedisServer): Promise<void> {
    const others = running(old);
    await until(
      async () => {
        const now = await primaries(others);
        const states = await Promise.all(others.map(({ port }) => clusterState(port)));
        return !now.includes(old) && now.length === PRIMARIES && states.every((state) => state === 'ok');
      },
      { ...PATIENT, what: 'a replica has taken over' },
    );
  }

  async function clusterState(port: number): Promise<string> {
    const info = await admin(port, (redis) => redis.call('CLUSTER', 'INFO')).catch(() => '');
    return /cluster_state:(\w+)/.exec(String(info))?.[1] ?? '';
  }

  async function settled(): Promise<void> {
    await until(
      async () => {
        const view = await agreed();
        const states = await Promise.all(nodes.map(({ port }) => clusterState(port)));
        const links = await Promise.all(
          view
            .filter(({ primary, id }) => !primary && id !== '')
            .map(({ port }) => infoField(port, 'replication', 'master_link_status')),
        );
        return (
          states.every((state) => state === 'ok') &&
          view.every(({ failed }) => !failed) &&
          links.every((link) => link === 'up') &&
          links.length === nodes.length - PRIMARIES
        );
      },
      { ...PATIENT, what: 'the cluster works and all replicas follow' },
    );
  }

  async function reshard(slots: readonly number[], to: RedisServer): Promise<void> {
    const view = await agreed();
    const target = view.find(({ port }) => port === to.port);
    if (target === undefined) throw new Error('no such node');
    const clients = new Map(nodes.map((node) => [node.port, connect(node.port)]));
    const primaries = view.filter((node) => node.primary).map(({ port }) => port);
    const tell = async (port: number, some: readonly number[], ...words: string[]): Promise<void> => {
      const client = clients.get(port);
      if (client) await Promise.all(some.map((slot) => client.call('CLUSTER', 'SETSLOT', slot, ...words)));
    };
    try {
      await Promise.all([...clients.values()].map((client) => client.connect()));
      for (const source of view) {
        const client = clients.get(source.port);
        const owned = slots.filter((slot) => source.slots.some(([first, last]) => first <= slot && slot <= last));
        if (source.id === target.id || client === undefined) continue;
        for (let from = 0; from < owned.length; from += SLOTS_A_STEP) {
          const some = owned.slice(from, from + SLOTS_A_STEP);
          await tell(to.port, some, 'IMPORTING', source.id);
          await tell(source.port, some, 'MIGRATING', target.id);
          for (const slot of some) await migrate(client, slot, to.port);
          // The one that gets it first, so that it is never without anybody.
          await tell(to.port, some, 'NODE', target.id);
          for (const port of new Set([source.port, ...primaries])) {
            await tell(port, some, 'NODE', target.id).catch((error: unknown) => {
              if (!(error instanceof Error && FOLLOWS_NOW.test(error.message))) throw error;
            });
          }
        }
      }
    } finally {
      for (const client of clients.values()) client.disconnect();
    }
  }

  async function migrate(source: Redis, slot: number, port: number): Promise<void> {
    for (;;) {
      const keys = await source.call('CLUSTER', 'GETKEYSINSLOT', slot, KEYS_A_STEP);
      if (!Array.isArray(keys) || keys.length === 0) return;
      await source.call('MIGRATE', '127.0.0.1', port, '', 0, 5000, 'KEYS', ...keys.map(String));
    }
  }

  async function meet(server: RedisServer, bus: string): Promise<void> {
    const [first] = nodes;
    if (first !== undefined && first !== server) await cluster(first, 'MEET', '127.0.0.1', server.port, bus);
  }

  for (const [index, node] of nodes.entries()) {
    await cluster(node, 'SET-CONFIG-EPOCH', index + 1);
    if (index >= PRIMARIES) continue;
    const first = Math.floor((index * SLOTS) / PRIMARIES);
    const last = Math.floor(((index + 1) * SLOTS) / PRIMARIES) - 1;
    await cluster(node, 'ADDSLOTSRANGE', first, last);
  }
  for (const node of nodes) await meet(node, await busPortOf(node));
  const met = async (): Promise<boolean> => {
    const views = await Promise.all(nodes.map(viewOf));
    return views.every((view) => view.length === nodes.length && view.every(({ failed }) => !failed));
  };
  await until(met, { ...PATIENT, what: 'the nodes have met' });
  for (const [index, node] of nodes.entries()) {
    const primary = nodes[index - PRIMARIES];
    if (primary !== undefined) await cluster(node, 'REPLICATE', await idOf(primary));
  }
  await settled();

  return {
    url,
    nodes,
    primaries: () => primaries(),
    settled,
    reshard,
    async failOver(given) {
      const old = await somePrimary(given);
      const oldId = await idOf(old);
      const replica = (await agreed()).find(({ primaryId }) => primaryId === oldId);
      if (replica === undefined) throw new Error('the primary has no replica');
      await admin(replica.port, (redis) => redis.call('CLUSTER', 'FAILOVER'));
      await replaced(old);
      await settled();
    },
    async crash(given) {
      const old = await somePrimary(given);
      await old.kill();
      await replaced(old);
      return old;
    },
    async freeze(given) {
      const old = await somePrimary(given);
      old.freeze();
      await replaced(old);
      return old;
    },
    async replaceNode(given) {
      const old = await somePrimary(given);
      const fresh = await startNode(options);
      nodes.push(fresh);
      await meet(fresh, await busPortOf(fresh));
      const joined = async (): Promise<boolean> => (await met()) && (await clusterState(fresh.port)) === 'ok';
      await until(joined, { ...PATIENT, what: 'the new node has joined' });
      const view = await agreed();
      const [oldId, freshId] = [await idOf(old), await idOf(fresh)];
      const ranges = view.find(({ id }) => id === oldId)?.slots ?? [];
      await reshard(
        ranges.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, at) => first + at)),
        fresh,
      );
      await agreed();
      const followers = nodes.filter(({ port }) => view.some((node) => node.port === port && node.primaryId === oldId));
      for (const follower of followers) await cluster(follower, 'REPLICATE', freshId);
      nodes.splice(nodes.indexOf(old), 1);
      await old.kill();
      await Promise.all(nodes.map((node) => cluster(node, 'FORGET', oldId)));
      await old.stop();
      await settled();
      return fresh;
    },
    async stop() {
      await Promise.all(nodes.map((node) => node.kill()));
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
}
