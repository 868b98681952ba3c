import { redisHarness } from './redis-harness.ts';
import { sqliteHarness } from './sqlite-harness.ts';
import type { StoreHarness } from './store-harness.ts';

export type { OpenStore, StoreHarness } from './store-harness.ts';

/** Every kind of store there is, for tests that hold for all of them. */
export const STORE_HARNESSES: Record<'sqlite' | 'redis', () => StoreHarness> = {
  sqlite: sqliteHarness,
  redis: redisHarness,
};
