import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { until } from '../../support/until.ts';
import type { Fault } from './fault.ts';

const HOLD_MS = 1500;
/** What Redis may use beyond what it uses already: room for the replies that are under way, not for new tasks. */
const ROOM_BYTES = 64 * 1024;
const SNAPSHOT = 'dump.rdb';
/** Where no server listens. */
const NO_PORT = '1';

/** Redis is there and refuses some or all commands, until it is set as it was. */
function refusing(
  name: string,
  title: string,
  set: (redis: Redis, dir: string) => Promise<unknown>,
  reset: (redis: Redis, dir: string) => Promise<unknown>,
): Fault {
  return {
    name,
    title,
    homes: ['redis'],
    holdMs: HOLD_MS,
    silences: false,
    flawless: false,
    async inject({ home }) {
      if (home.redis === null) throw new Error(`home ${home.name} has no Redis`);
      const { url, dir } = home.redis;
      const redis = new Redis(url);
      await set(redis, dir);
      return {
        what: title,
        heal: async () => {
          await reset(redis, dir);
          redis.disconnect();
        },
      };
    },
  };
}

async function number(redis: Redis, section: string, field: string): Promise<number> {
  const info = await redis.info(section);
  return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(info)?.[1]);
}

/** OOM: new tasks are refused, acks are not. */
export const redisFull = refusing(
  'redis-full',
  'Redis at its maxmemory',
  async (redis) => redis.config('SET', 'maxmemory', (await number(redis, 'memory', 'used_memory')) + ROOM_BYTES),
  (redis) => redis.config('SET', 'maxmemory', '0'),
);

/** Nothing is thrown away, since there is no maxmemory; but it might be. */
export const redisEviction = refusing(
  'redis-eviction',
  'maxmemory-policy allkeys-lru, without a maxmemory',
  (redis) => redis.config('SET', 'maxmemory-policy', 'allkeys-lru'),
  (redis) => redis.config('SET', 'maxmemory-policy', 'noeviction'),
);

/** MISCONF: a snapshot failed, because a folder is in its place. */
export const redisMisconfigured = refusing(
  'redis-misconf',
  'MISCONF: Redis could not write its snapshot and refuses writes',
  async (redis, dir) => {
    await mkdir(join(dir, SNAPSHOT));
    await redis.config('SET', 'save', '86400 1');
    await redis.bgsave();
    await until(async () => /rdb_last_bgsave_status:err/.test(await redis.info('persistence')), {
      what: 'the snapshot has failed',
    });
  },
  async (redis, dir) => {
    await rmdir(join(dir, SNAPSHOT));
    await redis.bgsave();
    await until(async () => /rdb_last_bgsave_status:ok/.test(await redis.info('persistence')), {
      what: 'the snapshot is written',
    });
    await redis.config('SET', 'save', '');
    await rm(join(dir, SNAPSHOT));
  },
);

export const redisLonely = refusing(
  'redis-noreplicas',
  'NOREPLICAS: Redis has fewer replicas than min-replicas-to-write',
  (redis) => redis.config('SET', 'min-replicas-to-write', '1'),
  (redis) => redis.config('SET', 'min-replicas-to-write', '0'),
);

/** It keeps its data, since the server that it would follow is not there. */
export const redisReadOnly = refusing(
  'redis-readonly',
  'READONLY: Redis is a replica, of a server that cannot be reached',
  (redis) => redis.replicaof('127.0.0.1', NO_PORT),
  (redis) => redis.replicaof('NO', 'ONE'),
);
