import { type Durability, type StoreDescription, type StoreMemory, StoreRefusal } from '../store.ts';
import type { RedisConnection } from './connection.ts';

/** Older servers lack functions and their flags, which acks in a full Redis need. */
const MIN_VERSION = 7;
/** The one maxmemory-policy under which nothing that is stored is thrown away. */
const KEEPS_ALL = 'noeviction';

/** What the server is, read from the server. */
export async function readServerState(connection: RedisConnection, location: string): Promise<StoreDescription> {
  const info = await connection.info();
  const valkey = info.get('valkey_version');
  const version = valkey ?? info.get('redis_version') ?? 'of an unknown version';
  if (Number.parseInt(info.get('redis_version') ?? '0', 10) < MIN_VERSION) {
    throw new StoreRefusal(
      `${location} runs Redis ${version}, which is too old: Lessor needs Redis ${MIN_VERSION} or newer, or Valkey`,
    );
  }
  const policy = info.get('maxmemory_policy') ?? (await connection.setting('maxmemory-policy'));
  if (policy !== null && policy !== KEEPS_ALL) {
    throw new StoreRefusal(
      `${location} would throw tasks away when its memory is full: its maxmemory-policy is "${policy}"; set it to "noeviction" (CONFIG SET maxmemory-policy noeviction, and in redis.conf)`,
    );
  }
  const [durability, note] = await readDurability(connection, info);
  return { product: `${valkey ? 'Valkey' : 'Redis'} ${version}`, location, durability, note };
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

async function readDurability(
  connection: RedisConnection,
  info: ReadonlyMap<string, string>,
): Promise<[Durability, string]> {
  if (info.get('aof_enabled') !== '1') {
    return ['none', 'no append-only file: a crash of Redis loses all since its last snapshot; set "appendonly yes"'];
  }
  const fsync = await connection.setting('appendfsync');
  if (fsync === 'always') return ['always', 'append-only file, synced before each answer'];
  if (fsync === 'everysec')
    return ['everysec', 'append-only file, synced every second: a crash of the machine may lose 1–2 s'];
  if (fsync === null)
    return ['none', 'an append-only file, but how often it is synced may not be read (CONFIG GET appendfsync)'];
  return ['none', 'append-only file that is never synced by Redis; set "appendfsync everysec" or "always"'];
}

/** A store URL without what is secret in it. */
export function redactedLocation(url: string): string {
  const parsed = new URL(url);
  parsed.password = '';
  parsed.username = '';
  parsed.search = '';
  return parsed.href.replace(/\/$/, '');
}
