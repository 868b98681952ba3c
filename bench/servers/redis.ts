import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import { makeFolder } from '../process/folder.ts';
import { type Launched, launch } from '../process/launch.ts';

/** The settings that every figure on Redis has unless it says otherwise. */
export const REDIS_SETTINGS = 'AOF everysec, noeviction, no snapshots, no AOF rewrite during the run';

export interface RedisServerOptions {
  cores?: string | null;
  /** Whether it gives way to no other process, so that its slow log shows its own doing alone. */
  first?: boolean;
}

/** A Redis server of a figure's own, and a connection to ask it about itself. */
export interface RedisServer {
  url: string;
  port: number;
  pid: number;
  client: Redis;
  /** CPU time in ms that its threads have used since it started. */
  cpuMs(): Promise<number>;
  /** A number of INFO. */
  info(section: string, field: string): Promise<number>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startRedis({ cores, first }: RedisServerOptions = {}): Promise<RedisServer> {
  const folder = await makeFolder('redis');
  const port = await freePort();
  const launched: Launched = await launch(
    'redis-server',
    [
      'redis-server',
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder.path, '--save', '', '--appendonly', 'yes'],
      ...['--appendfsync', 'everysec', '--auto-aof-rewrite-percentage', '0', '--maxmemory-policy', 'noeviction'],
    ],
    { cores, first },
  );
  await launched.said(/Ready to accept connections/);
  const url = `redis://127.0.0.1:${port}`;
  const client = new Redis(url, { retryStrategy: () => null });
  client.on('error', (error) => console.error(`  Redis: ${error.message}`));

  async function info(section: string, field: string): Promise<number> {
    const value = new RegExp(`^${field}:(.*)\r?$`, 'm').exec(await client.info(section))?.[1];
    if (value === undefined) throw new Error(`INFO ${section} has no ${field}`);
    return Number(value);
  }

  return {
    url,
    port,
    pid: launched.pid,
    client,
    info,
    async cpuMs() {
      return 1000 * ((await info('cpu', 'used_cpu_sys')) + (await info('cpu', 'used_cpu_user')));
    },
    async [Symbol.asyncDispose]() {
      client.disconnect();
      await launched.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A port on loopback that nothing listens on right now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
