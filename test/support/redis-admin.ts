import { Redis } from 'ioredis';

/** A client of a server on this machine, to be disconnected by the caller. */
export function connect(port: number): Redis {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    commandTimeout: 10_000,
  });
  redis.on('error', () => {});
  return redis;
}

/** Asks a server something over a connection of its own, which is closed again. */
export async function admin<Answer>(port: number, ask: (redis: Redis) => Promise<Answer>): Promise<Answer> {
  const redis = connect(port);
  try {
    await redis.connect();
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}

/** A field of INFO, '' where there is none or the server does not answer. */
export async function infoField(port: number, section: string, field: string): Promise<string> {
  try {
    const info = await admin(port, (redis) => redis.info(section));
    return new RegExp(`^${field}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? '';
  } catch {
    return '';
  }
}
