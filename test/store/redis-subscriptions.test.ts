import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { ClusterConnection } from '../../src/store/redis/cluster.ts';
import { Keyspace } from '../../src/store/redis/keys.ts';
import { loadLibrary } from '../../src/store/redis/library.ts';
import { readLocation } from '../../src/store/redis/location.ts';
import { ClusterSubscriber, LinkSubscriber } from '../../src/store/redis/subscriber.ts';
import { RedisWakes } from '../../src/store/redis/wakes.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { type RespReply, type RespServer, startRespServer } from '../support/resp-server.ts';
import { startTcpLink } from '../support/tcp-link.ts';
import { until } from '../support/until.ts';

const HOST = '127.0.0.1';
const SHARDS = 4;
const LAST_SLOT = 16_383;
const QUEUES = 64;

describe('subscriptions on a cluster', () => {
  const open: { close(): void }[] = [];
  const servers: RespServer[] = [];

  afterEach(async () => {
    for (const one of open.splice(0)) one.close();
    await Promise.all(servers.splice(0).map((server) => server.stop()));
  });

  /** Watches queues on a cluster of one node. @param subscribe what SSUBSCRIBE is answered */
  async function watch(
    subscribe: (channels: readonly string[]) => RespReply,
  ): Promise<{ server: RespServer; subscribes: () => number }> {
    const server = await startRespServer(([name, ...words]) => {
      if (name === 'CLUSTER' && words[0] === 'SLOTS') return [[0, LAST_SLOT, [HOST, server.port, 'id']]];
      if (name === 'CLUSTER') return 'cluster_state:ok\r\ncluster_current_epoch:1\r\n';
      if (name === 'SSUBSCRIBE') return subscribe(words);
      return new Error('ERR unknown command');
    });
    servers.push(server);
    const keys = new Keyspace('lessor', SHARDS);
    const location = readLocation(`redis+cluster://${HOST}:${server.port}`, {});
    const connection = new ClusterConnection({
      location,
      library: loadLibrary(),
      replicas: 0,
      log: undefined,
      bases: keys.bases,
      onReady: () => {},
    });
    const subscriber = new ClusterSubscriber(connection, location.client, SHARDS, undefined);
    const wakes = new RedisWakes({ subscriber, keys, origin: 'me', watchQueue: () => Promise.resolve() });
    open.push(wakes, connection);
    await connection.lookAgain();
    for (let queue = 0; queue < QUEUES; queue++) wakes.watch(`q${queue}`);
    return { server, subscribes: () => server.commands.filter(([name]) => name === 'SSUBSCRIBE').length };
  }

  test('that a node refuses again and again are tried a few times a second, however many they are', async () => {
    const { server, subscribes } = await watch(() => new Error(`MOVED 0 ${HOST}:${servers[0]?.port}`));
    await until(() => subscribes() >= QUEUES / 2, { what: 'the first refusals' });
    const looks = (): number => server.commands.filter(([, what]) => what === 'SLOTS').length;
    const [before, from] = [subscribes(), performance.now()];
    const seen = looks();
    await until(() => looks() >= seen + 5, { what: 'the map was read five times more' });
    const tries = (performance.now() - from) / 100 + 2;
    assert.ok(subscribes() - before <= tries * SHARDS, `${subscribes() - before} subscriptions in ${tries} tries`);
  });

  test('that a node has ended without being asked begin anew, all of them', async () => {
    const { server, subscribes } = await watch((channels) => ['ssubscribe', channels[0] ?? '', 1]);
    await until(() => subscribes() > 0, { what: 'the first subscription' });
    const before = subscribes();
    server.push(['sunsubscribe', 'lessor:{0}:ready:q', 0]);
    await until(() => subscribes() >= before + SHARDS, { what: 'subscriptions of every shard' });
  });
});

describe('subscriptions on one server', () => {
  let server: RedisServer;
  const open: { close(): void }[] = [];

  before(async () => {
    server = await startRedis();
  });

  after(async () => {
    for (const one of open) one.close();
    await server.stop();
  });

  /** A subscriber, how often it had a new connection, and what it told the log. */
  function listen(
    port: number,
    client: { username?: string; password?: string },
  ): {
    subscriber: LinkSubscriber;
    begun: readonly (readonly number[] | null)[];
    lines: readonly string[];
  } {
    const lines: string[] = [];
    const log = pino({ base: null }, { write: (line) => void lines.push(line) });
    const begun: (readonly number[] | null)[] = [];
    const subscriber = new LinkSubscriber({ client, endpoint: () => ({ host: HOST, port }), log });
    subscriber.listen({ hear: () => {}, begun: (shards) => begun.push(shards) });
    open.push(subscriber);
    subscriber.start();
    return { subscriber, begun, lines };
  }

  test('begin anew when the other host has vanished without a word', async () => {
    const way = await startTcpLink(server.port);
    const { subscriber, begun } = listen(way.port, {});
    await until(() => begun.length === 1, { what: 'a connection' });
    assert.equal(await subscriber.subscribe(0, ['lessor:{0}:ready:q']), true);
    const made = way.made();
    way.swallow();
    await until(() => way.made() > made, { what: 'another attempt to connect' });
    way.lead(server.port);
    await until(() => begun.length > 1, { what: 'another connection' });
    await way.stop();
  });

  test('that the user may not make are complained of once, and cost no connections', async () => {
    await admin(server.port, (redis) =>
      redis.acl('SETUSER', 'deaf', 'on', '>pw', '~*', '+@all', 'resetchannels', '&other:*'),
    );
    const { subscriber, begun, lines } = listen(server.port, { username: 'deaf', password: 'pw' });
    await until(() => begun.length === 1, { what: 'a connection' });
    for (let times = 0; times < 5; times++) {
      assert.equal(await subscriber.subscribe(0, ['lessor:{0}:ready:q']), false);
    }
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /\+ssubscribe/);
    await until(() => begun.length > 1, { what: 'another try' });
    assert.deepEqual(begun, [null, [0]], 'the connection has stayed');
  });
});
