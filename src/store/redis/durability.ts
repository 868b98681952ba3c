import { type Durability, StoreError } from '../store.ts';

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

/** What was asked for beyond the server's own settings. */
export interface AskedReplication {
  /** How many replicas are to confirm. */
  replicas: number;
  /** How many confirmed the last time, where that was too few. */
  tooFew: number | null;
}

/** @param info sections persistence and replication of INFO */
export function effectiveDurability(
  info: ReadonlyMap<string, string>,
  settings: SyncSettings,
  { replicas, tooFew }: AskedReplication,
): EffectiveDurability {
  const [durability, note] = onDisk(info, settings);
  if (replicas === 0) return { durability, note, unmet: null };
  const online = replicasOnline(info);
  if (online >= replicas && tooFew === null) {
    // Whoever promotes one knows nothing of who has confirmed what.
    const gap =
      online > replicas ? `: a failover to another of them may lose it, which replicated:${online} rules out` : '';
    return {
      durability: `replicated:${replicas}`,
      note: `held by ${replicas} of ${online} connected replicas before it is answered${gap}; on the primary: ${note}`,
      unmet: null,
    };
  }
  const why =
    online >= replicas
      ? `${tooFew} of ${replicas} replicas confirmed the last write in time`
      : `${online} of ${replicas} replicas are connected`;
  const unmet = `replicated:${replicas} does not hold: ${why}; what would have to be stored is answered 503 meanwhile`;
  return { durability, note: `${unmet}; on the primary: ${note}`, unmet };
}

/** From the weakest on. */
const RANKS = ['none', 'unknown', 'everysec', 'always'];

/** Whether the first of two levels promises less than the second. */
export function isWeaker(one: Durability, other: Durability): boolean {
  const rank = (level: Durability): number => (level.startsWith('replicated:') ? RANKS.length : RANKS.indexOf(level));
  return rank(one) < rank(other);
}

/** What is said of several servers: that of the one that promises least. */
export function weakest<State extends EffectiveDurability>(states: readonly State[]): State {
  const [first, ...others] = states;
  if (first === undefined) throw new StoreError('unavailable', 'Redis: no server is known');
  let least = first;
  for (const state of others) if (isWeaker(state.durability, least.durability)) least = state;
  const unmet = states.find((state) => state.unmet !== null)?.unmet ?? null;
  return { ...least, unmet };
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
