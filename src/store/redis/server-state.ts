import { type StoreDescription, type StoreMemory, StoreRefusal } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { type EffectiveDurability, effectiveDurability } from './durability.ts';

/** Older servers lack functions and their flags, which acks in a full Redis need. */
const MIN_VERSION = 7;
/** The one maxmemory-policy under which nothing that is stored is thrown away. */
const KEEPS_ALL = 'noeviction';

/**
 * What the server is, read from the server.
 * @param replicas how many are asked to confirm
 */
export async function readServerState(
  connection: RedisConnection,
  location: string,
  replicas: number,
): Promise<StoreDescription> {
  const info = await connection.info();
  const valkey = info.get('valkey_version');
  const version = valkey ?? info.get('redis_version') ?? 'of an unknown version';
  if (Number.parseInt(info.get('redis_version') ?? '0', 10) < MIN_VERSION) {
    throw new StoreRefusal(
      `${location} runs Redis ${version}, which is too old: Lessor needs Redis ${MIN_VERSION} or newer, or Valkey`,
    );
  }
  const policy =
    info.get('maxmemory_policy') ?? (await connection.settings('maxmemory-policy'))?.get('maxmemory-policy') ?? null;
  if (policy !== null && policy !== KEEPS_ALL) {
    throw new StoreRefusal(
      `${location} would throw tasks away when its memory is full: its maxmemory-policy is "${policy}"; set it to "noeviction" (CONFIG SET maxmemory-policy noeviction, and in redis.conf)`,
    );
  }
  const effective = await durabilityBy(connection, info, replicas);
  return { product: `${valkey ? 'Valkey' : 'Redis'} ${version}`, location, ...effective };
}

/** As Redis reckons when it refuses writes, which leaves the buffers of replicas and of the append-only file out. */
export async function readMemory(connection: RedisConnection): Promise<StoreMemory> {
  const info = await connection.info('memory');
  const limit = Number(info.get('maxmemory') ?? 0);
  const counted = Number(info.get('used_memory') ?? 0) - Number(info.get('mem_not_counted_for_evict') ?? 0);
  return {
    used: limit > 0 ? counted / limit : null,
    evicts: (info.get('maxmemory_policy') ?? KEEPS_ALL) !== KEEPS_ALL,
  };
}

async function durabilityBy(
  connection: RedisConnection,
  info: ReadonlyMap<string, string>,
  replicas: number,
): Promise<EffectiveDurability> {
  const settings = await connection.settings('appendfsync', 'no-appendfsync-on-rewrite');
  return effectiveDurability(info, settings, { replicas, tooFew: connection.replication?.tooFew ?? null });
}
