import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Keyspace } from '../../src/store/redis/keys.ts';
import { slotOfKey } from '../../src/store/redis/slots.ts';
import { type LessorProcess, startLessor, temporaryFolder } from '../process/lessor-process.ts';
import { dose } from '../support/dose.ts';
import { HttpLoad } from '../support/http-load.ts';
import { type RedisCluster, startCluster } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';
import { examineStore } from './load/examination.ts';

/** Within which tasks go through again after Redis has another primary. */
const RECOVERY_MS = 5000;
/** What a call may take: a time-out, patience for the connection, and a second for a busy machine; a lease call waits half a second besides. */
const LONGEST_CALL_MS = 5000;
const BROKERS = 2;
const TIMES = dose(1, 2);

/** What brokers must hold on to while the servers behind them fail over, move and are replaced. */
export function clusterUnderLoad(durability: 'default' | 'replicated:1'): void {
  describe(`two brokers on a cluster under load, with durability ${durability}`, () => {
    const folder = temporaryFolder();
    const slots = [...new Set(new Keyspace('lessor', 64).bases.map(slotOfKey))];
    let cluster: RedisCluster;
    let brokers: LessorProcess[];
    let load: HttpLoad;

    before(async () => {
      cluster = await startCluster();
      const env = { LESSOR_STORE: cluster.url, LESSOR_DURABILITY: durability };
      brokers = await Promise.all(Array.from({ length: BROKERS }, () => startLessor({ dir: folder.dir, env })));
    });

    after(async () => {
      load?.close();
      await Promise.all(brokers.map((broker) => broker.stop()));
      await cluster.stop();
      folder.remove();
    });

    const begin = async (): Promise<void> => {
      load = new HttpLoad(brokers.map(({ port }) => port));
      await load.start();
      await load.flows();
    };

    const ready = async (): Promise<boolean> => {
      const replies = await Promise.all(brokers.map(({ url }) => fetch(`${url}/readyz?verbose`)));
      await Promise.all(replies.map((reply) => reply.arrayBuffer()));
      return replies.every(({ status }) => status === 200);
    };

    /** Tasks go through again, soon, and both brokers say that they are ready. */
    const recovered = async (): Promise<string> => {
      const healed = performance.now();
      await load.flows(20);
      await until(ready, { what: 'the brokers are ready' });
      const took = performance.now() - healed;
      assert.ok(took < RECOVERY_MS, `recovered ${Math.round(took)} ms after the failover`);
      return `recovered after ${Math.round(took)} ms`;
    };

    test('lose nothing in a planned failover', async (t) => {
      await begin();
      for (let time = 0; time < TIMES; time++) {
        await cluster.failOver((await cluster.primaries())[time % 3]);
        t.diagnostic(await recovered());
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('lose nothing while the slots of all shards move from node to node', async (t) => {
      await begin();
      for (let time = 0; time < TIMES; time++) {
        const nodes = await cluster.primaries();
        for (const [at, node] of nodes.entries()) {
          await cluster.reshard(
            slots.filter((_, index) => index % nodes.length === (at + time) % nodes.length),
            node,
          );
          await load.flows(50);
        }
        t.diagnostic(await recovered());
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('lose nothing when a node is replaced by a new one', async (t) => {
      await begin();
      await cluster.replaceNode();
      t.diagnostic(await recovered());
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('recover by themselves when a primary is killed, and say so meanwhile', async (t) => {
      await begin();
      load.mayLose = durability === 'default';
      for (let time = 0; time < TIMES; time++) {
        const unready = until(async () => !(await ready()), { what: 'a broker says that it is not ready' });
        const old = await cluster.crash((await cluster.primaries())[time % 3]);
        await unready;
        // Nothing can be promised where there is no replica left.
        if (durability === 'default') t.diagnostic(await recovered());
        await old.restart();
        await cluster.settled();
        t.diagnostic(await recovered());
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('recover by themselves when a primary stands still, and when it comes back', async (t) => {
      await begin();
      load.mayLose = durability === 'default';
      for (let time = 0; time < TIMES; time++) {
        const old = await cluster.freeze((await cluster.primaries())[time % 3]);
        if (durability === 'default') t.diagnostic(await recovered());
        old.thaw();
        await cluster.settled();
        t.diagnostic(await recovered());
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('leave a store in which the doctor finds nothing', async () => {
      const config = {
        driver: 'redis',
        url: cluster.url,
        prefix: 'lessor',
        shards: 64,
        durability: 'default',
      } as const;
      assert.deepEqual(await examineStore(config), []);
    });
  });
}
