import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type LessorProcess, startLessor, temporaryFolder } from '../process/lessor-process.ts';
import { dose } from '../support/dose.ts';
import { HttpLoad } from '../support/http-load.ts';
import { type RedisSentinel, startSentinel } from '../support/redis-sentinel.ts';
import { until } from '../support/until.ts';
import { examineStore } from './load/examination.ts';

/** Within which tasks go through again after the Sentinels have another primary. */
const RECOVERY_MS = 5000;
/** What a call may take: a time-out, patience for the connection, and a second for a busy machine; a lease call waits half a second besides. */
const LONGEST_CALL_MS = 5000;
const BROKERS = 2;
const TIMES = dose(1, 2);

/** What brokers keep and answer while the primary fails over, is killed or stands still. */
export function sentinelUnderLoad(durability: 'default' | 'replicated:1'): void {
  describe(`two brokers behind Sentinels under load, with durability ${durability}`, () => {
    const folder = temporaryFolder();
    let sentinel: RedisSentinel;
    let brokers: LessorProcess[];
    let load: HttpLoad;

    before(async () => {
      sentinel = await startSentinel();
      const env = { LESSOR_STORE: sentinel.url, LESSOR_DURABILITY: durability };
      brokers = await Promise.all(Array.from({ length: BROKERS }, () => startLessor({ dir: folder.dir, env })));
    });

    after(async () => {
      load?.close();
      await Promise.all(brokers.map((broker) => broker.stop()));
      await sentinel.stop();
      folder.remove();
    });

    const begin = async (): Promise<void> => {
      load = new HttpLoad(brokers.map(({ port }) => port));
      await load.start();
      await load.flows();
    };

    const ready = async (): Promise<boolean> => {
      const replies = await Promise.all(brokers.map(({ url }) => fetch(`${url}/readyz`)));
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

    test('lose nothing in a planned failover for which writes pause', async (t) => {
      await begin();
      for (let time = 0; time < TIMES; time++) {
        await sentinel.failOver();
        t.diagnostic(await recovered());
        await sentinel.settled();
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('recover by themselves when the primary is killed, and say so meanwhile', async (t) => {
      await begin();
      load.mayLose = durability === 'default';
      for (let time = 0; time < TIMES; time++) {
        const unready = until(async () => !(await ready()), { what: 'a broker says that it is not ready' });
        const old = await sentinel.crash();
        await unready;
        t.diagnostic(await recovered());
        await old.restart();
        await sentinel.settled();
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('recover by themselves when the primary stands still, and stay where they are when it comes back as a replica', async (t) => {
      await begin();
      load.mayLose = durability === 'default';
      for (let time = 0; time < TIMES; time++) {
        const old = await sentinel.freeze();
        t.diagnostic(await recovered());
        old.thaw();
        await sentinel.settled();
        await load.flows();
      }
      t.diagnostic(await load.finish());
      assert.ok(load.longestMs < LONGEST_CALL_MS, `a call took ${load.longestMs} ms`);
    });

    test('leave a store in which the doctor finds nothing', async () => {
      const config = {
        driver: 'redis',
        url: sentinel.url,
        prefix: 'lessor',
        shards: 64,
        durability: 'default',
      } as const;
      assert.deepEqual(await examineStore(config), []);
    });
  });
}
