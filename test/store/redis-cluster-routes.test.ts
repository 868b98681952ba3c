import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ClusterConnection } from '../../src/store/redis/cluster.ts';
import { Keyspace } from '../../src/store/redis/keys.ts';
import { loadLibrary } from '../../src/store/redis/library.ts';
import { readLocation } from '../../src/store/redis/location.ts';
import { StoreError } from '../../src/store/store.ts';
import { type RespRule, type RespServer, startRespServer } from '../support/resp-server.ts';
import { until } from '../support/until.ts';

const HOST = '127.0.0.1';
const LAST_SLOT = 16_383;
const LATER_TURNS = 5;
/** The slot of shard 1 is below, that of shard 0 above. */
const HALF = 12_000;
const LOWER = 1;
/** No call outlives five seconds, on a machine that does other work. */
const LONGEST_CALL_MS = 5000;

/** What CLUSTER SLOTS says when one node has them all. */
function slotsAt(port: number): [[number, number, [string, number, string]]] {
  return [[0, LAST_SLOT, [HOST, port, 'id']]];
}

describe('routes through a cluster that does not agree', () => {
  const open: ClusterConnection[] = [];
  const servers: RespServer[] = [];
  const keys = new Keyspace('lessor', 2);
  const [base = ''] = keys.bases;

  afterEach(async () => {
    for (const one of open.splice(0)) one.close();
    await Promise.all(servers.splice(0).map((server) => server.stop()));
  });

  async function serve(answer: RespRule, loading?: () => boolean): Promise<RespServer> {
    const server = await startRespServer(answer, loading);
    servers.push(server);
    return server;
  }

  function connection(...ports: number[]): ClusterConnection {
    const made = new ClusterConnection({
      location: readLocation(`redis+cluster://${ports.map((port) => `${HOST}:${port}`).join(',')}`, {}),
      library: loadLibrary(),
      replicas: 0,
      log: undefined,
      bases: keys.bases,
      onReady: () => {},
    });
    open.push(made);
    return made;
  }

  test('a call ends in time though the map names another dead node each time it is read', async () => {
    let reads = 0;
    const server = await serve(([name, what]) => {
      if (name !== 'CLUSTER') return new Error('ERR unknown command');
      return what === 'SLOTS' ? slotsAt(1 + (reads++ % 100)) : 'cluster_state:ok\r\ncluster_current_epoch:1\r\n';
    });
    const cluster = connection(server.port);
    await cluster.lookAgain();
    const from = performance.now();
    await assert.rejects(
      cluster.run('lease', base, [], null),
      (error) => error instanceof StoreError && error.kind === 'unavailable',
    );
    assert.ok(performance.now() - from < LONGEST_CALL_MS, `${performance.now() - from} ms`);
  });

  test('a node that loads its data is left no connection for each time that the map is read', async () => {
    const loads = await serve(
      () => 'OK',
      () => true,
    );
    const down = await serve(([name, what]) => {
      if (name !== 'CLUSTER') return new Error('ERR unknown command');
      return what === 'SLOTS' ? slotsAt(down.port) : 'cluster_state:fail\r\ncluster_current_epoch:1\r\n';
    });
    const cluster = connection(down.port, loads.port);
    await until(
      async () => {
        await cluster.lookAgain();
        return loads.connections() >= 3;
      },
      { what: 'it is asked for the map again and again' },
    );
    await until(() => loads.open() === 0, { timeoutMs: LONGEST_CALL_MS, what: 'all connections to it are closed' });
  });

  test('a redirection that was followed is not undone by a map of the same epoch that does not know of it', async () => {
    const ports: number[] = [];
    const looks: [number, number, number] = [0, 0, 0];
    /** @param lower which of them has the lower slots, as this one sees it; the third has the upper ones */
    const node =
      (self: 0 | 1 | 2, lower: 0 | 1): RespRule =>
      async ([name, what]) => {
        if (name === 'CLUSTER' && what === 'SLOTS') {
          looks[self]++;
          // The one that has not heard of the change is the first to answer, by many turns of the event loop.
          if (self !== 2) for (let turn = 0; turn < LATER_TURNS; turn++) await setImmediate();
          return [
            [0, HALF, [HOST, ports[lower] ?? 0, 'lower']],
            [HALF + 1, LAST_SLOT, [HOST, ports[2] ?? 0, 'upper']],
          ];
        }
        if (name === 'CLUSTER') return 'cluster_state:ok\r\ncluster_current_epoch:1\r\n';
        if (name === 'FCALL') return self === 1 ? 'done' : new Error(`MOVED 0 ${HOST}:${ports[1]}`);
        return new Error('ERR unknown command');
      };
    for (const rule of [node(0, 1), node(1, 1), node(2, 0)]) ports.push((await serve(rule)).port);
    const cluster = connection(...ports);
    await until(
      async () => {
        await cluster.lookAgain();
        return cluster.endpointOf(LOWER)?.port === ports[0];
      },
      { what: 'the map of the one that has not heard is taken' },
    );
    assert.equal(await cluster.run('lease', keys.bases[LOWER] ?? '', [], null), 'done');
    await until(() => cluster.primaries().every(({ ready }) => ready), { what: 'connections to both' });
    for (let times = 0; times < 5; times++) {
      const before = looks[1];
      await until(
        async () => {
          await cluster.lookAgain();
          return looks[1] > before;
        },
        { what: 'the maps are read again' },
      );
      assert.equal(cluster.endpointOf(LOWER)?.port, ports[1]);
    }
  });
});
