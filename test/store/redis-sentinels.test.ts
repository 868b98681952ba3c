import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { type Endpoint, readLocation } from '../../src/store/redis/location.ts';
import { Sentinels } from '../../src/store/redis/sentinels.ts';
import { type RespServer, startRespServer } from '../support/resp-server.ts';
import { until } from '../support/until.ts';

/** What a Sentinel says. */
interface View {
  /** The port that SENTINEL GET-MASTER-ADDR-BY-NAME names. */
  primary: number;
  /** The port that SENTINEL MASTER names, where it is another one: the old one, until the failover is over. */
  listed?: number;
  epoch: number;
  silent?: boolean;
}

const OLD = 7001;
const NEW = 7002;
const HOST = '127.0.0.1';

describe('who is believed among Sentinels', () => {
  const open: { close(): void }[] = [];
  const servers: RespServer[] = [];

  afterEach(async () => {
    for (const one of open.splice(0)) one.close();
    await Promise.all(servers.splice(0).map((server) => server.stop()));
  });

  async function sentinels(views: readonly View[]): Promise<Sentinels> {
    for (const view of views) {
      servers.push(
        await startRespServer(([name, what = '']) => {
          if (name !== 'SENTINEL') return new Error('ERR unknown command');
          if (view.silent) return null;
          if (what.toUpperCase() === 'GET-MASTER-ADDR-BY-NAME') return [HOST, String(view.primary)];
          const port = String(view.listed ?? view.primary);
          return ['name', 'main', 'ip', HOST, 'port', port, 'config-epoch', String(view.epoch)];
        }),
      );
    }
    const hosts = servers.map(({ port }) => `${HOST}:${port}`).join(',');
    const made = new Sentinels(readLocation(`redis+sentinel://${hosts}/main`, {}), undefined);
    open.push(made);
    return made;
  }

  /** Has all of them connected: only those are asked. */
  async function connected(made: Sentinels): Promise<void> {
    await until(
      async () => {
        await made.primary();
        return servers.every(({ commands }) => commands.length > 0);
      },
      { what: 'all of them are asked' },
    );
  }

  /** What the next look of the watch tells. */
  function told(made: Sentinels): Promise<Endpoint> {
    const { promise, resolve } = Promise.withResolvers<Endpoint>();
    made.watch(resolve);
    return promise;
  }

  test('the leader of a failover names the new primary as soon as it has the new epoch', async () => {
    const made = await sentinels([{ primary: NEW, listed: OLD, epoch: 2 }]);
    assert.deepEqual(await made.primary(), { host: HOST, port: NEW });
  });

  test('one that has not heard of a failover does not lead back to the old primary', async () => {
    const views: View[] = [
      { primary: NEW, epoch: 2 },
      { primary: NEW, epoch: 2 },
      { primary: NEW, epoch: 2 },
    ];
    const made = await sentinels(views);
    await connected(made);
    Object.assign(views[0] ?? {}, { silent: true });
    Object.assign(views[1] ?? {}, { silent: true });
    Object.assign(views[2] ?? {}, { primary: OLD, epoch: 1 });
    assert.deepEqual(await made.primary(), { host: HOST, port: NEW });
    assert.deepEqual(await told(made), { host: HOST, port: NEW });
  });

  test('most of them lead to a primary of an earlier epoch: they may have been set up anew', async () => {
    const views: View[] = [
      { primary: OLD, epoch: 2 },
      { primary: OLD, epoch: 2 },
      { primary: OLD, epoch: 2 },
    ];
    const made = await sentinels(views);
    await connected(made);
    for (const view of views.slice(1)) Object.assign(view, { primary: NEW, epoch: 0 });
    Object.assign(views[0] ?? {}, { silent: true });
    assert.deepEqual(await made.primary(), { host: HOST, port: NEW });
  });

  test('the one that knows of the latest failover is waited for, when others that do not are faster', async () => {
    const views: View[] = [
      { primary: OLD, epoch: 1 },
      { primary: OLD, epoch: 1 },
      { primary: NEW, epoch: 2 },
    ];
    const made = await sentinels(views);
    await until(async () => (await made.primary()).port === NEW, { what: 'the third one is heard' });
    for (let times = 0; times < 20; times++) assert.equal((await made.primary()).port, NEW);
  });

  test('one that does not answer in time is connected to anew', async () => {
    const views: View[] = [{ primary: OLD, epoch: 1 }];
    const made = await sentinels(views);
    await connected(made);
    const [server] = servers;
    const before = server?.connections();
    Object.assign(views[0] ?? {}, { silent: true });
    await assert.rejects(made.primary(), /no Sentinel/);
    await until(() => server?.connections() === (before ?? 0) + 1, { what: 'another connection' });
    Object.assign(views[0] ?? {}, { silent: false });
    await until(async () => (await made.primary().catch(() => null))?.port === OLD, { what: 'an answer' });
  });
});
