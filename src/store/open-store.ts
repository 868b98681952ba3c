import type { Logger } from 'pino';
import type { Census } from './census.ts';
import type { Credentials } from './redis/location.ts';
import type { RedisStoreOptions } from './redis/redis-store.ts';
import type { TlsMaterial } from './redis/tls.ts';
import type { Store } from './store.ts';

export type { Credentials, TlsMaterial };

/** Which driver, and what it needs to know. `url` and `sentinels` may hold passwords: they are never logged. */
export type StoreConfig =
  | { driver: 'sqlite'; path: string; durability: 'full' | 'normal' }
  | ({ driver: 'redis' } & Omit<RedisStoreOptions, 'log' | 'clockInclude'>);

/**
 * Opens the store. Drivers are loaded only when used, so that starting stays fast.
 * @throws StoreRefusal with one clear line when it cannot or must not be used
 */
export async function openStore(config: StoreConfig, log: Logger): Promise<Store> {
  const store = await makeStore(config, log);
  try {
    await store.open();
  } catch (error) {
    await store.close().catch(() => {});
    throw error;
  }
  return store;
}

async function makeStore(config: StoreConfig, log: Logger): Promise<Store> {
  switch (config.driver) {
    case 'sqlite': {
      const { SqliteStore } = await import('./sqlite/sqlite-store.ts');
      return new SqliteStore({ path: config.path, durability: config.durability });
    }
    case 'redis': {
      const { RedisStore } = await import('./redis/redis-store.ts');
      const { driver: _redis, ...options } = config;
      return new RedisStore({ ...options, log });
    }
  }
}

/**
 * Opens a census of the store, which need not be open or closed otherwise; only a SQLite file must be free.
 * @throws StoreRefusal with one clear line when there is nothing to look at, or it must not be used
 */
export async function openCensus(config: StoreConfig): Promise<Census> {
  if (config.driver === 'sqlite') {
    const { SqliteCensus } = await import('./sqlite/census.ts');
    const census = new SqliteCensus(config.path);
    census.open();
    return census;
  }
  const { url, prefix, tls, sentinels } = config;
  const { RedisCensus } = await import('./redis/census.ts');
  const census = new RedisCensus({ url, prefix, ...(tls && { tls }), ...(sentinels && { sentinels }) });
  try {
    await census.open();
  } catch (error) {
    await census.close();
    throw error;
  }
  return census;
}
