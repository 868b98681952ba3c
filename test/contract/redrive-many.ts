import assert from 'node:assert/strict';
import type { DeadFilter } from '../../src/domain/operation.ts';
import { ANY, begin, die, dieTogether, finish, like, redriveOf, step } from './redrives.ts';
import { only, type Theme } from './workbench.ts';

const DAY_MS = 86_400_000;

export const redriveMany: Theme = {
  name: 'redrive of many',
  rules(rule) {
    rule('the dead become ready in the order in which they died, and all else stays', async (bench) => {
      const ids = [await die(bench, { priority: 9 }), await die(bench), await die(bench)];
      const others = await bench.oneOfEach('other');
      const cancelled = await bench.put();
      await bench.cancel(cancelled.id);
      const ended = await finish(bench, await begin(bench));
      assert.deepEqual([ended.state, ended.finishedAt, ended.queue], ['completed', bench.now(), 'q']);
      assert.deepEqual([ended.seen, ended.total, ended.matched, ended.moved], [3, 3, 3, 3]);
      const task = await bench.get(ids[0] ?? '');
      assert.deepEqual([task.state, task.attempt, task.finishedAt, task.runAt], ['ready', 0, null, bench.now()]);
      assert.deepEqual(await bench.drain(), ids);
      assert.equal(await bench.state(cancelled.id), 'cancelled');
      assert.equal(await bench.state(others.dead), 'dead');
      assert.equal((await bench.queue()).counts.dead, 0);
    });

    rule('a step looks at 128 tasks at most, and one goes on where the one before it ended', async (bench) => {
      const ids = await dieTogether(bench, like(300));
      const id = await begin(bench);
      const seen: number[] = [];
      for (let at = 0; at < 3; at++) {
        const { operation, nextAt } = await step(bench, id);
        seen.push(operation.moved);
        assert.deepEqual([operation.seen, operation.total, nextAt === null], [operation.moved, 300, at === 2]);
      }
      assert.deepEqual(seen, [128, 256, 300]);
      assert.deepEqual(await bench.drain(), ids);
    });

    rule('a step redrives no more than is asked for', async (bench) => {
      await dieTogether(bench, like(10));
      const id = await begin(bench);
      assert.equal((await step(bench, id, 3)).operation.moved, 3);
      assert.equal((await step(bench, id, 3)).operation.moved, 6);
      assert.equal((await bench.queue()).counts.ready, 6);
    });

    rule('only what the filter means is redriven', async (bench) => {
      const mail = await die(bench, { type: 'mail' }, 'timeout');
      const other = await die(bench, { type: 'mail' }, 'refused');
      const call = await die(bench, { type: 'call' }, 'timeout');
      const plain = await die(bench);
      const both = await finish(bench, await begin(bench, { filter: { ...ANY, type: 'mail', errorCode: 'timeout' } }));
      assert.deepEqual([both.seen, both.total, both.matched, both.moved], [4, 4, 1, 1]);
      assert.deepEqual(await bench.drain(), [mail]);
      const code = await finish(bench, await begin(bench, { filter: { ...ANY, errorCode: 'timeout' } }));
      assert.deepEqual([code.matched, await bench.drain()], [1, [call]]);
      const type = await finish(bench, await begin(bench, { filter: { ...ANY, type: 'mail' } }));
      assert.deepEqual([type.matched, await bench.drain()], [1, [other]]);
      assert.equal(await bench.state(plain), 'dead');
    });

    rule('diedBefore leaves those that died at that moment or later', async (bench) => {
      const first = await die(bench);
      const diedBefore = bench.now();
      const second = await die(bench);
      const ended = await finish(bench, await begin(bench, { filter: { ...ANY, diedBefore } }));
      assert.deepEqual([ended.matched, ended.moved], [1, 1]);
      assert.deepEqual([await bench.state(first), await bench.state(second)], ['ready', 'dead']);
    });

    rule('max is how many that match are dealt with', async (bench) => {
      const ids = await dieTogether(bench, like(5));
      const ended = await finish(bench, await begin(bench, { max: 2 }));
      assert.deepEqual([ended.state, ended.seen, ended.total, ended.matched], ['completed', 2, 2, 2]);
      assert.deepEqual(await bench.drain(), ids.slice(0, 2));
    });

    rule('what dies again, or dies meanwhile, is left alone', async (bench) => {
      const [first = ''] = await dieTogether(bench, like(3));
      const id = await begin(bench);
      await step(bench, id, 1);
      await bench.advance(1);
      const { token } = await bench.take();
      await bench.nack({ id: first, token }, { retryable: false });
      const later = await die(bench);
      const ended = await finish(bench, id);
      assert.deepEqual([ended.seen, ended.moved], [3, 3]);
      assert.deepEqual([await bench.state(first), await bench.state(later)], ['dead', 'dead']);
    });

    rule('a task whose unique key is held stays dead, and is counted as not moved', async (bench) => {
      const unique = { key: 'k', until: 'finished', ttlMs: null, onConflict: 'reject' } as const;
      const ids = [await die(bench, { unique }), await die(bench, { unique })];
      const ended = await finish(bench, await begin(bench));
      assert.deepEqual([ended.matched, ended.moved], [2, 1]);
      assert.deepEqual([await bench.state(ids[0] ?? ''), await bench.state(ids[1] ?? '')], ['ready', 'dead']);
    });

    rule('those that stay dead do not hold up those behind them, though all died at one moment', async (bench) => {
      await dieTogether(bench, like(150, { type: 'stays' }));
      const [last] = await dieTogether(bench, [{ type: 'goes' }]);
      const ended = await finish(bench, await begin(bench, { filter: { ...ANY, type: 'goes' } }));
      assert.deepEqual([ended.seen, ended.moved], [151, 1]);
      assert.deepEqual(await bench.drain(), [last]);
    });

    rule('tasks of a group come back one after another', async (bench) => {
      const ids = [await die(bench, { groupKey: 'g' }), await die(bench, { groupKey: 'g' })];
      await finish(bench, await begin(bench));
      assert.deepEqual([await bench.state(ids[0] ?? ''), await bench.state(ids[1] ?? '')], ['ready', 'blocked']);
    });

    rule('a rate is never exceeded: the next step waits for as long as the one before it takes up', async (bench) => {
      await dieTogether(bench, like(30));
      const id = await begin(bench, { ratePerSec: 100 });
      assert.equal((await step(bench, id, 10)).nextAt, bench.now() + 100);
      await bench.advance(99);
      assert.equal((await step(bench, id, 10)).operation.moved, 10);
      await bench.advance(1);
      const { operation } = await step(bench, id, 10);
      assert.deepEqual([operation.moved, operation.ratePerSec], [20, 100]);
    });

    rule('progress is kept: after a restart the next step goes on, and nothing is redriven twice', async (bench) => {
      const ids = await dieTogether(bench, like(200));
      const id = await begin(bench);
      await step(bench, id);
      await bench.reopen();
      assert.deepEqual(
        (await bench.store.runningOperations()).map(({ id: running, moved }) => [running, moved]),
        [[id, 128]],
      );
      // As long as the process that took the last step may still be there.
      await bench.advance(2000);
      const ended = await finish(bench, id);
      assert.deepEqual([ended.moved, ended.total], [200, 200]);
      assert.deepEqual(await bench.store.runningOperations(), []);
      assert.deepEqual(await bench.drain(), ids);
    });

    rule('a cancelled one goes no further', async (bench) => {
      await dieTogether(bench, like(10));
      const id = await begin(bench);
      await step(bench, id, 4);
      const cancelled = only((await bench.store.cancelOperations([id])).results);
      assert.deepEqual(
        [cancelled?.state, cancelled?.moved, cancelled?.total, cancelled?.finishedAt],
        ['cancelled', 4, 10, bench.now()],
      );
      await bench.advance(5);
      assert.deepEqual(await step(bench, id), { operation: cancelled, nextAt: null, full: false });
      assert.deepEqual((await bench.store.cancelOperations([id])).results, [cancelled]);
      assert.equal((await bench.queue()).counts.ready, 4);
    });

    rule('what is not there', async (bench) => {
      const operation = redriveOf(bench, { queue: 'nowhere' });
      assert.deepEqual((await bench.store.createOperations([operation])).results, ['queue_not_found']);
      for (const id of [operation.id, 'never']) {
        assert.deepEqual((await bench.store.operations([id])).results, [null]);
        assert.deepEqual((await bench.store.stepOperations([{ id, limit: 1, ids: [] }])).results, [null]);
        assert.deepEqual((await bench.store.cancelOperations([id])).results, [null]);
        assert.deepEqual((await bench.store.forgetOperations([id])).results, [false]);
      }
      const query = { queue: 'nowhere', filter: ANY, position: null, limit: 10 };
      assert.deepEqual(await bench.store.countDead(query), { matched: 0, seen: 0, next: null });
    });

    rule('made again it is the same one, and forgotten it is gone', async (bench) => {
      await die(bench);
      const operation = redriveOf(bench);
      await bench.store.createOperations([operation, operation]);
      await step(bench, operation.id);
      const again = (await bench.store.createOperations([operation])).results;
      assert.deepEqual(again, (await bench.store.operations([operation.id])).results);
      assert.equal(only((await bench.store.operations([operation.id])).results)?.moved, 1);
      assert.deepEqual((await bench.store.forgetOperations([operation.id])).results, [true]);
      assert.deepEqual((await bench.store.operations([operation.id])).results, [null]);
    });

    rule('an ended one is kept for a day, and the last thousand of them', async (bench) => {
      await die(bench);
      const id = await begin(bench);
      await finish(bench, id);
      await bench.advance(DAY_MS - 1);
      assert.equal(only((await bench.store.operations([id])).results)?.state, 'completed');
      await bench.advance(1);
      assert.deepEqual((await bench.store.operations([id])).results, [null]);
      const first = await begin(bench);
      await finish(bench, first);
      await bench.advance(1);
      for (let made = 0; made < 999; made += 37) {
        const more = Array.from({ length: 37 }, () => redriveOf(bench));
        await bench.store.createOperations(more);
        await bench.store.cancelOperations(more.map((one) => one.id));
      }
      assert.notEqual(only((await bench.store.operations([first])).results), null);
      const last = await begin(bench);
      await finish(bench, last);
      assert.equal(only((await bench.store.operations([first])).results), null);
      assert.notEqual(only((await bench.store.operations([last])).results), null);
    });

    rule('no more than a hundred run at once', async (bench) => {
      await die(bench);
      const ids: string[] = [];
      for (let made = 0; made < 100; made++) ids.push(await begin(bench, { ratePerSec: 1 }));
      assert.deepEqual((await bench.store.createOperations([redriveOf(bench)])).results, ['too_many']);
      await bench.store.cancelOperations(ids.slice(0, 1));
      await begin(bench);
    });

    rule('the dead are counted in bounded parts, and nothing happens to them', async (bench) => {
      await dieTogether(bench, like(30, { type: 'a' }), 'x');
      await dieTogether(bench, like(7, { type: 'b' }));
      const count = async (filter: Partial<DeadFilter>, limit: number): Promise<number[]> => {
        const matched: number[] = [];
        for (let position: string | null = null; ; ) {
          const found = await bench.store.countDead({ queue: 'q', filter: { ...ANY, ...filter }, position, limit });
          assert.ok(found.seen <= limit);
          matched.push(found.matched);
          if (found.next === null) return matched;
          position = found.next;
        }
      };
      assert.deepEqual(await count({}, 128), [37]);
      assert.deepEqual(await count({ type: 'b' }, 20), [0, 7]);
      assert.deepEqual(await count({ errorCode: 'x' }, 20), [20, 10]);
      assert.deepEqual(await count({ diedBefore: bench.now() }, 20), [0]);
      assert.equal((await bench.queue()).counts.dead, 37);
    });
  },
};
