import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Redis } from 'ioredis';
import { Link } from '../../src/store/redis/link.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startRespServer } from '../support/resp-server.ts';
import { until } from '../support/until.ts';

/** Within this a server is noticed that has loaded its data, on a machine that does other work. */
const NOTICED_MS = 2000;

describe('a connection that is kept', () => {
  let server: RedisServer;
  const links: Link[] = [];

  before(async () => {
    server = await startRedis();
  });

  after(async () => {
    for (const link of links) link.close();
    await server.stop();
  });

  function keep({ accept, port = server.port }: { accept?: () => Promise<void>; port?: number } = {}): {
    link: Link;
    ups: Redis[];
    downs: Error[];
  } {
    const ups: Redis[] = [];
    const downs: Error[] = [];
    const link = new Link({
      client: {},
      endpoint: () => ({ host: '127.0.0.1', port }),
      ...(accept && { accept }),
      up: (redis) => ups.push(redis),
      down: (reason) => downs.push(reason),
    });
    links.push(link);
    return { link, ups, downs };
  }

  test('is made anew with another client when the one before is at its end, whoever has ended it', async () => {
    const { link, ups, downs } = keep();
    await link.connect();
    for (let times = 1; times <= 3; times++) {
      const [redis] = ups.slice(-1);
      assert.ok(redis);
      redis.disconnect();
      await until(() => ups.length === 2 * times, { what: 'it is back after its client was told to disconnect' });
      assert.equal(redis.status, 'end');
      await admin(server.port, (other) => other.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
      await until(() => ups.length === 2 * times + 1, { what: 'it is back after the server has cut it' });
      assert.equal(await link.redis?.ping(), 'PONG');
      assert.equal(downs.length, 2 * times);
    }
  });

  test('is tried for ever while there is no server, and says why it cannot be made', async () => {
    const { link, ups, downs } = keep();
    await link.connect();
    await server.kill();
    await until(() => downs.length >= 4, { what: 'it is tried again and again' });
    assert.match(downs.at(-1)?.message ?? '', /ECONNREFUSED/);
    assert.equal(link.redis, null);
    await server.restart();
    await until(() => ups.length === 2, { what: 'it is back' });
  });

  test('does not stay with a server that is not accepted', async () => {
    let accepted = false;
    const accept = async (): Promise<void> => {
      if (!accepted) throw new Error('a replica');
    };
    const { link, ups, downs } = keep({ accept });
    await assert.rejects(link.connect(), /a replica/);
    await until(() => downs.length >= 3, { what: 'it is looked at again' });
    assert.deepEqual(ups, []);
    accepted = true;
    await until(() => ups.length === 1, { what: 'it is accepted' });
  });

  test('is there as soon as the server has loaded its data, however long that was said to take', async () => {
    let loading = true;
    let asked = 0;
    const loads = await startRespServer(
      () => 'OK',
      () => {
        asked++;
        return loading;
      },
    );
    const { link, ups } = keep({ port: loads.port });
    link.start();
    await until(() => asked > 0, { what: 'it is asked whether it has loaded' });
    loading = false;
    const from = performance.now();
    await until(() => ups.length === 1, { what: 'it is there' });
    assert.ok(performance.now() - from < NOTICED_MS, `${performance.now() - from} ms`);
    link.close();
    await loads.stop();
  });

  test('does not come back once it is closed', async () => {
    const { link, ups, downs } = keep();
    await link.connect();
    link.close();
    const [redis] = ups;
    await until(() => redis?.status === 'end', { what: 'its client has ended' });
    assert.deepEqual([ups.length, downs.length], [1, 0]);
  });
});
