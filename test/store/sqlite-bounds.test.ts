import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { NewTask } from '../../src/domain/task.ts';
import { InvalidCursor } from '../../src/store/store.ts';
import { json, Workbench } from '../contract/workbench.ts';
import { sqliteHarness } from '../support/sqlite-harness.ts';

const harness = sqliteHarness();

function bounded(words: string, check: (bench: Workbench) => Promise<void>): void {
  it(words, async () => {
    const bench = new Workbench(await harness.open());
    try {
      await check(bench);
    } finally {
      await bench.close();
    }
  });
}

/** Stores `count` tasks that are alike. */
async function many(bench: Workbench, count: number, parts: Partial<NewTask>): Promise<void> {
  for (let left = count; left > 0; left -= 1000) {
    await bench.putAll(Array.from({ length: Math.min(left, 1000) }, () => parts));
  }
}

describe('bounds of the SQLite store', () => {
  after(() => harness.stop());

  bounded('a page in search of a type looks at 2000 tasks and goes on from there', async (bench) => {
    await many(bench, 2500, { type: 'hay' });
    const needle = await bench.put({ type: 'needle' });
    const query = { queue: 'q', state: null, type: 'needle', limit: 10 };
    const first = await bench.store.list({ ...query, cursor: null });
    assert.deepEqual(first.tasks, []);
    assert.notEqual(first.next, null);
    const second = await bench.store.list({ ...query, cursor: first.next });
    assert.deepEqual([second.tasks, second.next], [[needle], null]);
  });

  bounded('a page in search of a tag reads past 16 MiB of payloads and goes on from there', async (bench) => {
    const payload = json('x'.repeat(262_000));
    for (let left = 80; left > 0; left -= 20) {
      await bench.putAll(Array.from({ length: 20 }, () => ({ payload, tags: ['hay'] })));
    }
    const needle = await bench.put({ tags: ['needle'] });
    const query = { queue: 'q', state: null, type: null, tag: 'needle', limit: 10 };
    const first = await bench.store.list({ ...query, cursor: null });
    assert.deepEqual(first.tasks, []);
    assert.notEqual(first.next, null);
    const second = await bench.store.list({ ...query, cursor: first.next });
    assert.deepEqual([second.tasks, second.next], [[needle], null]);
  });

  bounded('a cursor of a list in another order is refused, and so is one that is altered', async (bench) => {
    await many(bench, 3, {});
    const created = { queue: 'q', state: null, type: null, limit: 2 };
    const { next } = await bench.store.list({ ...created, cursor: null });
    assert.ok(next !== null);
    assert.equal((await bench.store.list({ ...created, cursor: next })).tasks.length, 1);
    const others = [next.slice(1), `${next}A`, '', '~', Buffer.from('created 0 -1').toString('base64url')];
    for (const cursor of others) await assert.rejects(bench.store.list({ ...created, cursor }), InvalidCursor);
    await assert.rejects(bench.store.list({ ...created, state: 'dead', cursor: next }), InvalidCursor);
  });

  bounded(
    'a step of the sweep deals with 1000 tasks at most, says that there are more, and starves no kind',
    async (bench) => {
      await many(bench, 2000, { delayMs: 10 });
      await bench.putAndTake({ leaseMs: 100, priority: 9 });
      await bench.put({ ttlMs: 10 });
      await bench.advance(100);
      const step = await bench.store.sweep();
      assert.ok(step.promoted + step.reclaimed + step.expired + step.pruned <= 1000);
      assert.ok(step.promoted > 0);
      assert.deepEqual([step.reclaimed, step.expired], [1, 1]);
      assert.ok(step.dueAt !== null && step.dueAt <= step.now);
      assert.equal((await bench.sweep()).promoted, 2000 - step.promoted);
    },
  );

  bounded('a lease finds its way past tasks that are past their ttl, a bounded number in a call', async (bench) => {
    await many(bench, 1500, { ttlMs: 10 });
    const { id } = await bench.put();
    await bench.advance(10);
    const calls: (readonly string[])[] = [];
    for (let call = 0; call < 2; call++) calls.push((await bench.lease()).map(({ task }) => task.id));
    assert.deepEqual(calls, [[], [id]]);
    assert.deepEqual((await bench.store.sweep()).readied, []);
    const { counts } = await bench.queue();
    assert.deepEqual([counts.expired, counts.ready, counts.leased], [1500, 0, 1]);
  });

  bounded('a lease ends half as many on its way where each brings in the next one of its group', async (bench) => {
    await many(bench, 1500, { ttlMs: 10, groupKey: 'g' });
    await bench.advance(10);
    assert.deepEqual(await bench.lease(), []);
    assert.equal((await bench.queue()).counts.expired, 500);
  });

  bounded('a lease that gave up has the sweep come at once and say that there may be more', async (bench) => {
    await many(bench, 1500, { ttlMs: 10 });
    await bench.put();
    await bench.advance(10);
    const call = { queue: 'q', token: 't', max: 1, leaseMs: null, workerId: null, requestId: null };
    const { now, dueAt, results } = await bench.store.lease([call]);
    assert.deepEqual([dueAt, results], [now, [[]]]);
    assert.deepEqual((await bench.store.sweep()).readied, ['q']);
  });

  bounded('a queue is dropped in steps of 128', async (bench) => {
    await many(bench, 2500, { ttlMs: 10 });
    await bench.pass(10);
    const steps: string[] = [];
    do steps.push(await bench.store.dropQueue('q'));
    while (steps.at(-1) === 'more');
    assert.deepEqual(steps, [...Array.from({ length: Math.floor(2500 / 128) }, () => 'more'), 'deleted']);
    assert.equal((await bench.store.queue('q')).queue, null);
  });

  bounded('pruning is put off by a second at most, so that a busy queue is pruned in steps worth it', async (bench) => {
    await bench.store.configure('q', { retention: { completedMs: 5000 } }, 'merge');
    await bench.ack(await bench.putAndTake());
    await bench.advance(1);
    await bench.ack(await bench.putAndTake());
    const swept = await bench.pass(4999);
    assert.deepEqual([swept.pruned, swept.dueAt], [1, bench.now() + 1000]);
    assert.equal((await bench.pass(1)).pruned, 1);
  });
});
