import assert from 'node:assert/strict';
import { TASK_STATES } from '../../src/domain/task.ts';
import { InvalidCursor } from '../../src/store/store.ts';
import { held, type Theme } from './workbench.ts';

export const listing: Theme = {
  name: 'listing',
  rules(rule) {
    rule('all tasks of one queue, by creation, whatever became of them', async (bench) => {
      await bench.put({}, 'other');
      const tasks = await bench.putAll(Array.from({ length: 6 }, (_, number) => ({ priority: number })));
      await bench.cancel(tasks[2]?.id ?? '');
      await bench.nack(held(await bench.take()), { delayMs: 0 });
      await bench.nack(held(await bench.take()), { delayMs: 1000 });
      const expected = (await bench.store.get(tasks.map(({ id }) => id))).results;
      assert.deepEqual(await bench.list(), expected);
    });

    rule('an unknown queue has no tasks', async (bench) => {
      const query = { queue: 'none', state: null, type: null, limit: 10, cursor: null };
      assert.deepEqual(await bench.store.list(query), { now: bench.now(), tasks: [], next: null });
    });

    rule('one state: each task in exactly one', async (bench) => {
      const ids: Record<string, string> = await bench.oneOfEach();
      for (const state of TASK_STATES) {
        const listed = (await bench.list({ state })).map(({ id }) => id);
        assert.deepEqual(listed, state === 'blocked' ? [] : [ids[state]], state);
      }
    });

    rule('what has ended is listed in the order in which it ended', async (bench) => {
      const ids = (await bench.putAll([{}, {}, {}, {}])).map(({ id }) => id);
      const byEnd = [2, 0, 3, 1].map((index) => ids[index] ?? '');
      for (const id of byEnd) {
        await bench.cancel(id);
        await bench.advance(1);
      }
      assert.deepEqual(
        (await bench.list({ state: 'cancelled' })).map(({ id }) => id),
        byEnd,
      );
      assert.deepEqual(
        (await bench.list()).map(({ id }) => id),
        ids,
      );
    });

    rule('waiting and leased tasks are listed by creation, not by place', async (bench) => {
      const ids = (await bench.putAll([{ priority: 1 }, { priority: 9 }, { priority: 5 }])).map(({ id }) => id);
      assert.deepEqual(
        (await bench.list({ state: 'ready' })).map(({ id }) => id),
        ids,
      );
      await bench.drain();
      assert.deepEqual(
        (await bench.list({ state: 'leased' })).map(({ id }) => id),
        ids,
      );
    });

    rule('one type, alone and together with a state', async (bench) => {
      const types = ['a', 'b', null, 'a', 'A', 'b', 'a'];
      const tasks = await bench.putAll(types.map((type) => ({ type })));
      const idsOf = (type: string | null): string[] => tasks.filter((task) => task.type === type).map(({ id }) => id);
      assert.deepEqual(
        (await bench.list({ type: 'a' })).map(({ id }) => id),
        idsOf('a'),
      );
      await bench.cancel(idsOf('a')[1] ?? '');
      await bench.cancel(idsOf('b')[0] ?? '');
      assert.deepEqual(
        (await bench.list({ type: 'a', state: 'cancelled' })).map(({ id }) => id),
        [idsOf('a')[1]],
      );
      assert.deepEqual(
        (await bench.list({ type: 'a', state: 'ready' })).map(({ id }) => id),
        [idsOf('a')[0], idsOf('a')[2]],
      );
      assert.deepEqual(await bench.list({ type: 'none' }), []);
    });

    rule('pages of any size add up to the whole, with every filter', async (bench) => {
      await bench.putAll(Array.from({ length: 23 }, (_, number) => ({ type: number % 3 === 0 ? 'x' : 'y' })));
      for (const task of (await bench.list()).slice(5, 15)) await bench.cancel(task.id);
      for (const state of [null, 'ready', 'cancelled'] as const) {
        for (const type of [null, 'x'] as const) {
          const whole = await bench.list({ state, type });
          assert.ok(whole.length > 0);
          for (const limit of [1, 2, 7, 23]) assert.deepEqual(await bench.list({ state, type, limit }), whole);
        }
      }
    });

    rule('a rare type is found among many tasks, by bounded pages', async (bench) => {
      for (let round = 0; round < 3; round++) {
        await bench.putAll(Array.from({ length: 1000 }, (_, number) => ({ type: number === 999 ? 'rare' : 'common' })));
      }
      assert.equal((await bench.list({ type: 'rare', limit: 10 })).length, 3);
    });

    rule('a listing is stable while its tasks move', async (bench) => {
      const ids = (await bench.putAll(Array.from({ length: 10 }, () => ({})))).map(({ id }) => id);
      const query = { queue: 'q', state: null, type: null, limit: 4 };
      const first = await bench.store.list({ ...query, cursor: null });
      assert.deepEqual(
        first.tasks.map(({ id }) => id),
        ids.slice(0, 4),
      );
      const grants = await bench.lease({ max: 6 });
      for (const grant of grants) await bench.nack(held(grant), { delayMs: 0 });
      await bench.cancel(ids[1] ?? '');
      await bench.store.remove([ids[1] ?? '', ids[3] ?? '']);
      const second = await bench.store.list({ ...query, cursor: first.next });
      assert.deepEqual(
        second.tasks.map(({ id }) => id),
        ids.slice(4, 8),
      );
      const [added] = await bench.putAll([{}]);
      const third = await bench.store.list({ ...query, cursor: second.next });
      assert.deepEqual(
        third.tasks.map(({ id }) => id),
        [...ids.slice(8), added?.id],
      );
    });

    rule('a cursor that no page of such a list has answered is refused', async (bench) => {
      await bench.putAll([{}, {}]);
      const created = { queue: 'q', state: null, type: null, limit: 1 };
      const finished = { ...created, state: 'cancelled' } as const;
      const { next } = await bench.store.list({ ...created, cursor: null });
      assert.ok(next);
      for (const cursor of ['', 'x', '0', '-1', 'null', '{}', '\u0000', 'ß', '9'.repeat(300)]) {
        for (const query of [created, finished]) {
          await assert.rejects(bench.store.list({ ...query, cursor }), InvalidCursor, cursor);
        }
      }
      await assert.rejects(bench.store.list({ ...finished, cursor: next }), InvalidCursor);
    });

    rule('a listing of ended tasks goes on after those that were deleted meanwhile', async (bench) => {
      const ids = (await bench.putAll(Array.from({ length: 6 }, () => ({})))).map(({ id }) => id);
      for (const id of ids) {
        await bench.cancel(id);
        await bench.advance(1);
      }
      const query = { queue: 'q', state: 'cancelled', type: null, limit: 2 } as const;
      const first = await bench.store.list({ ...query, cursor: null });
      await bench.store.remove(first.tasks.map(({ id }) => id));
      const second = await bench.store.list({ ...query, cursor: first.next });
      assert.deepEqual(
        second.tasks.map(({ id }) => id),
        ids.slice(2, 4),
      );
    });
  },
};
