import { Redis } from 'ioredis';
import type { RedisServer } from '../../support/redis-server.ts';
import { LEASE_MS } from '../load/queues.ts';
import type { Fault, Scene } from './fault.ts';

function redisOf({ home }: Scene): RedisServer {
  if (home.redis === null) throw new Error(`home ${home.name} has no Redis`);
  return home.redis;
}

/** SIGKILL of Redis, which syncs its append-only file at every write, and its start from that file. */
export const redisKill: Fault = {
  name: 'redis-kill',
  title: 'SIGKILL of Redis (AOF always), started again',
  homes: ['redis'],
  holdMs: 300,
  silences: false,
  flawless: false,
  async inject(scene) {
    const redis = redisOf(scene);
    await redis.kill();
    return { what: 'Redis is killed', heal: () => redis.restart() };
  },
};

function frozen(name: string, title: string, holdMs: number): Fault {
  return {
    name,
    title,
    homes: ['redis'],
    holdMs,
    // What a broker cannot do it says, in time.
    silences: false,
    flawless: false,
    async inject(scene) {
      const { pid } = redisOf(scene);
      process.kill(pid, 'SIGSTOP');
      return {
        what: 'Redis stands still',
        heal: async () => {
          process.kill(pid, 'SIGCONT');
        },
      };
    },
  };
}

/** For longer than a lease and than a command may take. */
export const redisFreeze = frozen('redis-freeze', 'SIGSTOP of Redis for longer than a lease', LEASE_MS + 1000);
/** For longer than a client waits for an answer: each call must have been answered with a 503 by then. */
export const redisOutage = frozen('redis-outage', 'SIGSTOP of Redis for 8 seconds', 8000);

/** A command of an operator that takes effect at once; there is nothing to heal. */
function commanded(name: string, title: string, what: string, command: (redis: Redis) => Promise<unknown>): Fault {
  return {
    name,
    title,
    homes: ['redis'],
    holdMs: 200,
    silences: false,
    flawless: false,
    async inject(scene) {
      const client = new Redis(redisOf(scene).url);
      await command(client);
      client.disconnect();
      return { what, heal: async () => {} };
    },
  };
}

export const functionFlush = commanded(
  'function-flush',
  'FUNCTION FLUSH and SCRIPT FLUSH',
  'the functions and scripts of Redis are gone',
  async (redis) => {
    await redis.function('FLUSH');
    await redis.script('FLUSH');
  },
);

export const clientKill = commanded(
  'client-kill',
  'CLIENT KILL of every connection to Redis',
  'every connection to Redis is cut',
  async (redis) => {
    await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes');
  },
);
