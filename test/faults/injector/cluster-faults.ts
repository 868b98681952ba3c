import { Keyspace } from '../../../src/store/redis/keys.ts';
import { slotOfKey } from '../../../src/store/redis/slots.ts';
import type { RedisCluster } from '../../support/redis-cluster.ts';
import { amongServers, whole } from './failover-faults.ts';
import type { Fault, Scene } from './fault.ts';

const SHARDS = 64;
/** One shard in so many moves in one dose. */
const SHARE = 3;

function changed(
  name: string,
  title: string,
  what: string,
  change: (cluster: RedisCluster, pick: Scene['pick']) => Promise<unknown>,
): Fault {
  return {
    name,
    title,
    homes: ['cluster'],
    slow: true,
    holdMs: 0,
    silences: false,
    flawless: false,
    async inject({ home, pick }) {
      if (home.cluster === undefined) throw new Error(`home ${home.name} is no cluster`);
      const { cluster } = home;
      await amongServers(() => change(cluster, pick));
      return { what, heal: (mended) => whole(home, mended) };
    },
  };
}

export const slotsMoved = changed(
  'slots-move',
  'A third of all shards moved to one node under load',
  'the slots of a third of all shards have moved',
  async (cluster, pick) => {
    const primaries = await cluster.primaries();
    const to = primaries[pick(primaries.length)];
    if (to === undefined) throw new Error('the cluster has no primary');
    const rest = pick(SHARE);
    const slots = [...new Set(new Keyspace('lessor', SHARDS).bases.map(slotOfKey))];
    await cluster.reshard(
      slots.filter((_, index) => index % SHARE === rest),
      to,
    );
  },
);

export const nodeReplaced = changed(
  'node-replace',
  'A node replaced by a new one under load',
  'a new node has all slots of an old one, which is gone',
  async (cluster, pick) => {
    const primaries = await cluster.primaries();
    await cluster.replaceNode(primaries[pick(primaries.length)]);
  },
);
