import type { Durability } from '../store.ts';

/** What a Redis store is asked to promise: what the server itself is set to, or that N replicas hold it too. */
export type RedisDurability = 'default' | `replicated:${number}`;

/** How many replicas must hold what is promised. */
export function replicasOf(durability: RedisDurability): number {
  return durability === 'default' ? 0 : Number(durability.slice('replicated:'.length));
}

/** Replicas acknowledge every second; one that has been silent for so many confirms nothing now. */
const MAX_SILENCE_S = 3;

/** How durable a server is right now, by what it says itself. */
export interface EffectiveDurability {
  durability: Durability;
  /** What that means, and what an operator could do about it. */
  note: string;
  /** What was asked for and does not hold now, and what to do; null when all holds. */
  unmet: string | null;
}

/** Settings of the server that say how it syncs; null where reading them is not allowed. */
export type SyncSettings = ReadonlyMap<'appendfsync' | 'no-appendfsync-on-rewrite', string> | null;

/**
 * @param info sections persistence and replication of INFO
 * @param asked how many replicas are to confirm
 */
export function effectiveDurability(
  info: ReadonlyMap<string, string>,
  settings: SyncSettings,
  asked: number,
): EffectiveDurability {
  const [durability, note] = onDisk(info, settings);
  if (asked === 0) return { durability, note, unmet: null };
  const online = replicasOnline(info);
  if (online >= asked) {
    return {
      durability: `replicated:${asked}`,
      note: `each answer waits for ${count(asked)}; ${online} connected; on the primary's disk: ${note}`,
      unmet: null,
    };
  }
  const unmet = `replicated:${asked} does not hold: ${online} of ${count(asked)} connected; what is to be stored is refused until more are`;
  return { durability, note: `${unmet}; on the primary's disk: ${note}`, unmet };
}

/** What a crash of the server or its machine leaves. */
function onDisk(info: ReadonlyMap<string, string>, settings: SyncSettings): [Durability, string] {
  if (info.get('aof_enabled') !== '1') {
    return ['none', 'no append-only file: a crash of Redis loses all since its last snapshot; set "appendonly yes"'];
  }
  if (info.get('aof_last_write_status') === 'err') {
    return ['none', 'the append-only file cannot be written; see the log of Redis, often the disk is full'];
  }
  const fsync = settings?.get('appendfsync');
  if (fsync === undefined) {
    return ['unknown', 'an append-only file, but how often it is synced may not be read (CONFIG GET appendfsync)'];
  }
  if (fsync !== 'always' && fsync !== 'everysec') {
    return ['none', 'append-only file that is never synced by Redis; set "appendfsync everysec" or "always"'];
  }
  if (settings?.get('no-appendfsync-on-rewrite') === 'yes') {
    return ['none', 'append-only file that is not synced while it is rewritten; set "no-appendfsync-on-rewrite no"'];
  }
  return fsync === 'always'
    ? ['always', 'append-only file, synced before each answer']
    : ['everysec', 'append-only file, synced every second: a crash of the machine may lose 1–2 s'];
}

/** Replicas that are in step and have been heard of lately. */
function replicasOnline(info: ReadonlyMap<string, string>): number {
  if (info.get('role') !== 'master') return 0;
  let online = 0;
  for (const [field, value] of info) {
    if (!/^slave\d+$/.test(field)) continue;
    const lag = Number(/(?:^|,)lag=(\d+)/.exec(value)?.[1] ?? Number.NaN);
    if (/(?:^|,)state=online(?:,|$)/.test(value) && lag <= MAX_SILENCE_S) online++;
  }
  return online;
}

function count(replicas: number): string {
  return replicas === 1 ? '1 replica' : `${replicas} replicas`;
}
