import { admin, infoField } from '../../support/redis-admin.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { until } from '../../support/until.ts';
import type { Failovers, Home } from '../homes/home.ts';
import type { Fault, Scene } from './fault.ts';

const READY_MS = 15_000;
const MENDED = { timeoutMs: 60_000 };

/** The servers of a home did not come to agree among each other, which says nothing of brokers. */
export class ServersStuck extends Error {
  override readonly name = 'ServersStuck';
}

/** @throws ServersStuck for whatever goes wrong between the servers */
export async function amongServers<Value>(act: () => Value | Promise<Value>): Promise<Value> {
  try {
    return await act();
  } catch (error) {
    throw new ServersStuck(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Whether a server is a primary that so many replicas follow and keep up with, so that it can take writes and have them confirmed. */
async function isFollowed({ port }: RedisServer, replicas: number): Promise<boolean> {
  const before = Number(await infoField(port, 'replication', 'master_repl_offset'));
  const info = await admin(port, (redis) => redis.info('replication')).catch(() => '');
  const offsets = [...info.matchAll(/^slave\d+:.*state=online,offset=(\d+)/gm)].map(([, offset]) => Number(offset));
  return /^role:master\r?$/m.test(info) && offsets.filter((offset) => offset >= before).length >= replicas;
}

/** Resolves with the primaries when all of them can have writes confirmed. */
async function followed(failovers: Failovers): Promise<readonly RedisServer[]> {
  return until(
    async () => {
      const primaries = await failovers.primaries();
      const able = await Promise.all(primaries.map((primary) => isFollowed(primary, failovers.replicas)));
      return able.every(Boolean) ? primaries : undefined;
    },
    { ...MENDED, what: 'its replicas follow each primary' },
  );
}

/**
 * Resolves when the servers are as they were at the beginning, but for their roles, and all brokers say that they are ready.
 * @param mended is called once every primary can have writes confirmed, whatever the brokers know of it: from then on it is up to them. Again
 * where others had become primaries before all servers were in their places.
 */
export async function whole({ name, failovers, brokers }: Home, mended: () => void): Promise<void> {
  if (failovers === undefined) throw new Error(`home ${name} has no failovers`);
  let primaries = await amongServers(() => followed(failovers));
  mended();
  for (let same = false; !same; ) {
    await amongServers(() => failovers.settled());
    const now = await amongServers(() => followed(failovers));
    same = now.every((server) => primaries.includes(server));
    if (!same) mended();
    primaries = now;
  }
  const ready = async (): Promise<boolean> => {
    const replies = await Promise.all(brokers.map(({ url }) => fetch(`${url}/readyz`)));
    await Promise.all(replies.map((reply) => reply.arrayBuffer()));
    return replies.every(({ ok }) => ok);
  };
  await until(ready, { timeoutMs: READY_MS, what: 'all brokers are ready after a failover' });
}

/** @param comesBack what is done about the old primary once another one has taken over */
function failover(
  name: string,
  title: string,
  fail: (failovers: Failovers, primary: RedisServer) => Promise<unknown>,
  comesBack: (old: RedisServer) => void | Promise<void>,
): Fault {
  return {
    name,
    title,
    homes: ['sentinel', 'cluster'],
    slow: true,
    holdMs: 500,
    silences: false,
    flawless: false,
    async inject({ home, pick }: Scene) {
      const { failovers } = home;
      if (failovers === undefined) throw new Error(`home ${home.name} has no failovers`);
      const primaries = await amongServers(() => failovers.primaries());
      const primary = primaries[pick(primaries.length)];
      if (primary === undefined) throw new Error(`home ${home.name} has no primary`);
      await amongServers(() => fail(failovers, primary));
      return {
        what: `another server is primary instead of that on port ${primary.port}`,
        heal: async (mended) => {
          await amongServers(() => comesBack(primary));
          await whole(home, mended);
        },
      };
    },
  };
}

/** Each way in which a primary is replaced by its replica. */
export const failoverFaults: readonly Fault[] = [
  failover(
    'primary-kill',
    'SIGKILL of a primary, whose replica takes over; it comes back as a replica',
    (failovers, primary) => failovers.crash(primary),
    (old) => old.restart(),
  ),
  failover(
    'primary-freeze',
    'SIGSTOP of a primary until its replica has taken over, and on',
    (failovers, primary) => failovers.freeze(primary),
    (old) => old.thaw(),
  ),
  failover(
    'planned-failover',
    'A planned failover',
    (failovers, primary) => failovers.failOver(primary),
    () => {},
  ),
];
