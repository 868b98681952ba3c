import type { Credentials } from '../store/open-store.ts';
import { variableOf } from './settings.ts';
import type { StoreLocation } from './store-url.ts';

type SentinelKey = 'sentinelUser' | 'sentinelPassword';
type SentinelSettings = Partial<Readonly<Record<SentinelKey, string | undefined>>>;

/** What is wrong with setting these for a store, as predicates. */
export function sentinelFaults(store: StoreLocation, settings: SentinelSettings): [SentinelKey, string][] {
  const named = (['sentinelUser', 'sentinelPassword'] as const).filter((key) => settings[key] !== undefined);
  if (store.driver !== 'redis' || !/^rediss?\+sentinel:/i.test(store.url)) {
    return named.map((key) => [
      key,
      'is for Sentinels, and the store is not redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY',
    ]);
  }
  if (settings.sentinelUser === undefined || settings.sentinelPassword !== undefined) return [];
  return [['sentinelUser', `is of no use alone: set ${variableOf('sentinelPassword')} too`]];
}

/** Undefined where the Sentinels want none. */
export function sentinelCredentials({ sentinelUser, sentinelPassword }: SentinelSettings): Credentials | undefined {
  if (sentinelPassword === undefined) return undefined;
  return sentinelUser === undefined
    ? { password: sentinelPassword }
    : { username: sentinelUser, password: sentinelPassword };
}
