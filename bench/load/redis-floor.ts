import { Redis } from 'ioredis';
import { PAYLOAD_TEXT } from './payload.ts';

/** Cycles in one pipeline: as many as there are connections in the figures it is compared with. */
const PIPELINE = 64;

export interface RedisFloorArgs {
  url: string;
  ms: number;
}

/**
 * The least that Redis could be asked for a full cycle: the task's id into a list and its text into a hash, out of
 * the list and into a sorted set of leases, out of that and gone. Plain commands in long pipelines; nothing is
 * checked, ordered, counted or kept.
 */
export async function redisFloor({ url, ms }: RedisFloorArgs): Promise<{ cycles: number; ms: number }> {
  const redis = new Redis(url);
  let cycles = 0;
  const start = performance.now();
  const end = start + ms;
  while (performance.now() < end) {
    const pipeline = redis.pipeline();
    for (let index = 0; index < PIPELINE; index++) {
      const id = `0_01jz8k3v7q0c5x9m2t${(cycles + index) % 100_000}`;
      const key = `floor:{0}:t:${id}`;
      pipeline.lpush('floor:{0}:ready', id);
      pipeline.hset(key, 'd', PAYLOAD_TEXT);
      pipeline.rpop('floor:{0}:ready');
      pipeline.zadd('floor:{0}:leased', start + cycles, id);
      pipeline.zrem('floor:{0}:leased', id);
      pipeline.del(key);
    }
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
    cycles += PIPELINE;
  }
  const elapsed = performance.now() - start;
  redis.disconnect();
  return { cycles, ms: elapsed };
}
