import { openEmbedded } from './embedded.ts';
import type { HomeName, OpenHome } from './home.ts';
import { openRedis, openRolling } from './redis.ts';

/** Every home that is known. */
export const HOMES: Readonly<Record<HomeName, OpenHome>> = {
  embedded: openEmbedded,
  redis: openRedis,
  rolling: openRolling,
};
