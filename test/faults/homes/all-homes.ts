import { openEmbedded, openFailingDisk } from './embedded.ts';
import type { HomeName, OpenHome } from './home.ts';
import { openCluster, openSentinel } from './replicated.ts';
import { openProxied, openRedis, openRolling } from './redis.ts';

/** Every home that is known. */
export const HOMES: Readonly<Record<HomeName, OpenHome>> = {
  embedded: openEmbedded,
  redis: openRedis,
  rolling: openRolling,
  proxied: openProxied,
  'failing-disk': openFailingDisk,
  sentinel: openSentinel,
  cluster: openCluster,
};
