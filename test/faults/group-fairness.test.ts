import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ackOf, held, Workbench } from '../contract/workbench.ts';
import { dose } from '../support/dose.ts';
import { STORE_HARNESSES } from '../support/stores.ts';

const BUSY = dose(10_000, 100_000);
const OTHERS = 9;
const EACH = 100;
const BATCH = 1000;
/** Leased in one call. */
const AT_ONCE = 4;

describe(`one group with ${BUSY} tasks and ${OTHERS} with ${EACH} each`, () => {
  for (const makeHarness of Object.values(STORE_HARNESSES)) {
    const harness = makeHarness();
    after(() => harness.stop());

    test(`the ${OTHERS} are done after ${(OTHERS + 1) * EACH} leases on ${harness.name}`, async (t) => {
      const bench = new Workbench(await harness.open());
      try {
        const put = async (groupKey: string, count: number): Promise<void> => {
          for (let put = 0; put < count; put += BATCH) {
            await bench.putAll(Array.from({ length: Math.min(BATCH, count - put) }, () => ({ groupKey })));
          }
        };
        const seeding = performance.now();
        await put('busy', BUSY);
        for (let group = 0; group < OTHERS; group++) await put(`g${group}`, EACH);
        const seeded = performance.now();
        const served = new Map<string | null, number>();
        for (let lease = 0; lease < (OTHERS + 1) * EACH; lease += AT_ONCE) {
          const grants = await bench.lease({ max: AT_ONCE });
          assert.equal(grants.length, AT_ONCE);
          for (const { task } of grants) served.set(task.groupKey, (served.get(task.groupKey) ?? 0) + 1);
          await bench.store.settle(grants.map((grant) => ackOf(held(grant))));
        }
        for (let group = 0; group < OTHERS; group++) assert.equal(served.get(`g${group}`), EACH);
        const { ready, blocked } = (await bench.queue()).counts;
        assert.deepEqual([ready, blocked], [1, BUSY - EACH - 1]);
        const took = [seeded - seeding, performance.now() - seeded].map(Math.round);
        t.diagnostic(`stored in ${took[0]} ms, leased and acknowledged in ${took[1]} ms`);
      } finally {
        await bench.close();
      }
    });
  }
});
