import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from './redis-server.ts';
import { startTcpLink, type TcpLink } from './tcp-link.ts';
import { until } from './until.ts';

/** A primary and a replica of it, with a link between them that can be cut without either noticing. */
export interface RedisPair {
  readonly primary: RedisServer;
  readonly replica: RedisServer;
  readonly link: TcpLink;
  /** Talk to each of them directly. */
  readonly onPrimary: Redis;
  readonly onReplica: Redis;
  /** Resolves when the replica is in step. */
  connected(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts both and resolves when the replica is in step. */
export async function startRedisPair(): Promise<RedisPair> {
  const atOnce = ['--repl-diskless-sync-delay', '0'];
  const primary = await startRedis({ args: atOnce });
  const link = await startTcpLink(primary.port);
  const replica = await startRedis({ args: [...atOnce, '--replicaof', '127.0.0.1', String(link.port)] });
  const onPrimary = new Redis(primary.url);
  const onReplica = new Redis(replica.url);
  // A server that a test has killed is no fault of its connections.
  for (const redis of [onPrimary, onReplica]) redis.on('error', () => {});
  const pair: RedisPair = {
    ...{ primary, replica, link, onPrimary, onReplica },
    async connected() {
      // A replica that counts as online may not follow yet: only what it confirms proves that it does.
      const inStep = async (): Promise<boolean> => {
        await onPrimary.set('in-step', '1');
        return (await onPrimary.wait(1, 100)) === 1;
      };
      await until(inStep, { what: 'the replica is in step' });
    },
    async stop() {
      onPrimary.disconnect();
      onReplica.disconnect();
      await replica.stop();
      await link.stop();
      await primary.stop();
    },
  };
  await pair.connected();
  return pair;
}
