import assert from 'node:assert/strict';
import { TASK_STATES, type TaskRecord } from '../../src/domain/task.ts';
import { InvalidCursor } from '../../src/store/store.ts';
import { held, type Theme, type Workbench } from './workbench.ts';

/** Ends tasks, all in one moment; answers their ids. */
async function endAll(bench: Workbench, tasks: readonly TaskRecord[]): Promise<string[]> {
  await bench.store.cancel(tasks.map(({ id }) => ({ id, reason: null, force: false })));
  return tasks.map(({ id }) => id);
}

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

    rule('a tag, whole and among others, whatever it is made of', async (bench) => {
      const odd = [',', '","', 'a,', ',b', '\\', 'x\\', '"', 'a"x"b', ']', 'ß', '😀', '\\u00df', 'a|b', '{"g":["a"]}'];
      const many = Array.from({ length: 15 }, (_, number) => `😀${number}`.padEnd(100, '😀'));
      const sets = [['a', 'b'], ['A', 'bb', 'a'], [], [...many, 'last'], odd, ...odd.map((tag) => [tag])];
      const metadata = { g: 'last', last: '"last"' };
      const tasks = await bench.putAll(sets.map((tags) => ({ tags, metadata })));
      for (const tag of [...new Set(sets.flat()), 'last,', 'none', '']) {
        const wanted = tasks.filter(({ tags }) => tags.includes(tag));
        assert.deepEqual(await bench.list({ tag }), wanted, tag);
      }
      assert.equal((await bench.list({ tag: 'a', state: 'ready' })).length, 2);
    });

    rule('an error code: that of the last error, whatever has become of the task', async (bench) => {
      const fail = async (code: string, retryable: boolean): Promise<string> => {
        const claim = await bench.putAndTake({ priority: 9 });
        await bench.nack(claim, { error: { code, message: null, details: null }, retryable, delayMs: 1000 });
        return claim.id;
      };
      await bench.put();
      const waiting = await fail('E1', true);
      const dead = await fail('E1', false);
      const other = await fail('E2', false);
      const cancelled = await bench.put();
      await bench.store.cancel([{ id: cancelled.id, reason: 'no more', force: false }]);
      const idsOf = async (part: Parameters<typeof bench.list>[0]): Promise<string[]> =>
        (await bench.list(part)).map(({ id }) => id);
      assert.deepEqual(await idsOf({ errorCode: 'E1' }), [waiting, dead]);
      assert.deepEqual(await idsOf({ errorCode: 'E1', state: 'dead' }), [dead]);
      assert.deepEqual(await idsOf({ errorCode: 'E2', state: 'dead', order: 'newest' }), [other]);
      assert.deepEqual(await idsOf({ errorCode: 'cancelled' }), [cancelled.id]);
      assert.deepEqual(await idsOf({ errorCode: 'E' }), []);
      await bench.redrive(dead);
      const told = await bench.get(dead);
      assert.deepEqual(await idsOf({ errorCode: 'E1', state: 'ready' }), told.lastError === null ? [] : [dead]);
    });

    rule('times of creation: from the first on, up to but not at the second', async (bench) => {
      const start = bench.now();
      const tasks: TaskRecord[] = [];
      for (let number = 0; number < 300; number++) {
        tasks.push(await bench.put());
        if (number % 2 === 1) await bench.advance(1);
      }
      await bench.store.remove(await endAll(bench, tasks.slice(100, 240)));
      const left = (await bench.store.get(tasks.map(({ id }) => id))).results.filter((task) => task !== null);
      for (const [from, to] of [
        [-5, 500],
        [0, 1],
        [10, 60],
        [49, 121],
        [50, 120],
        [60, 61],
        [149, 150],
        [150, 900],
      ]) {
        const times = { createdAfter: start + (from ?? 0), createdBefore: start + (to ?? 0) };
        const wanted = left.filter(
          (task) => task.createdAt >= times.createdAfter && task.createdAt < times.createdBefore,
        );
        for (const limit of [3, 1000]) {
          assert.deepEqual(await bench.list({ ...times, limit }), wanted);
          assert.deepEqual(await bench.list({ ...times, limit, order: 'newest' }), wanted.toReversed());
          assert.deepEqual(await bench.list({ ...times, limit, state: 'ready' }), wanted);
        }
      }
      assert.deepEqual(await bench.list({ createdAfter: start + 140 }), left.slice(-20));
      assert.deepEqual(
        await bench.list({ createdBefore: start + 10, order: 'newest' }),
        left.slice(0, 20).toReversed(),
      );
    });

    rule('times of creation in a list of what has ended, which is in another order', async (bench) => {
      const tasks: TaskRecord[] = [];
      for (let number = 0; number < 6; number++) {
        tasks.push(await bench.put());
        await bench.advance(10);
      }
      const byEnd = [5, 1, 4, 0, 3, 2].map((index) => tasks[index]?.id ?? '');
      for (const id of byEnd) {
        await bench.cancel(id);
        await bench.advance(1);
      }
      const times = { createdAfter: tasks[1]?.createdAt ?? 0, createdBefore: tasks[4]?.createdAt ?? 0 };
      for (const limit of [1, 10]) {
        const listed = (await bench.list({ ...times, state: 'cancelled', limit })).map(({ id }) => id);
        assert.deepEqual(listed, [byEnd[1], byEnd[4], byEnd[5]]);
        const newest = (await bench.list({ ...times, state: 'cancelled', limit, order: 'newest' })).map(({ id }) => id);
        assert.deepEqual(newest, listed.toReversed());
      }
      const none = { state: 'cancelled', createdAfter: bench.now() } as const;
      assert.deepEqual([await bench.list(none), await bench.list({ ...none, order: 'newest' })], [[], []]);
    });

    rule('the newest first is the oldest first from its other end, in every list', async (bench) => {
      await bench.oneOfEach();
      await bench.putAll(Array.from({ length: 400 }, (_, number) => ({ type: number % 7 === 0 ? 'x' : 'y' })));
      await endAll(bench, (await bench.list({ type: 'x' })).slice(0, 40));
      for (const state of [null, ...TASK_STATES]) {
        for (const limit of [9, 1000]) {
          for (const type of [null, 'x']) {
            const oldest = await bench.list({ state, type, limit });
            assert.deepEqual(
              await bench.list({ state, type, limit, order: 'newest' }),
              oldest.toReversed(),
              `${state}`,
            );
          }
        }
      }
    });

    rule('the newest first is stable while tasks move, are added and are deleted', async (bench) => {
      const ids = (await bench.putAll(Array.from({ length: 10 }, () => ({})))).map(({ id }) => id);
      const query = { queue: 'q', state: null, type: null, limit: 4, order: 'newest' } as const;
      const first = await bench.store.list({ ...query, cursor: null });
      assert.deepEqual(
        first.tasks.map(({ id }) => id),
        ids.slice(6).toReversed(),
      );
      for (const grant of await bench.lease({ max: 6 })) await bench.nack(held(grant), { delayMs: 0 });
      await bench.put();
      await bench.store.remove(
        await endAll(bench, await bench.list({ order: 'newest', limit: 1000 }).then((all) => all.slice(4, 6))),
      );
      const second = await bench.store.list({ ...query, cursor: first.next });
      assert.deepEqual(
        second.tasks.map(({ id }) => id),
        ids.slice(1, 5).toReversed(),
      );
    });

    rule('a list of tasks that ended in one moment goes on after those that were deleted meanwhile', async (bench) => {
      const tasks = await bench.putAll(Array.from({ length: 700 }, () => ({})));
      const ids = await endAll(bench, tasks);
      for (const order of ['oldest', 'newest'] as const) {
        const expected = order === 'oldest' ? [...ids] : ids.toReversed();
        const query = { queue: 'q', state: 'cancelled', type: null, limit: 300, order } as const;
        const first = await bench.store.list({ ...query, cursor: null });
        assert.deepEqual(
          first.tasks.map(({ id }) => id),
          expected.slice(0, 300),
        );
        const last = first.tasks.at(-1)?.id ?? '';
        await bench.store.remove([last]);
        ids.splice(ids.indexOf(last), 1);
        const second = await bench.store.list({ ...query, cursor: first.next });
        assert.deepEqual(
          second.tasks.map(({ id }) => id),
          expected.slice(300, 600),
        );
      }
    });

    rule('a cursor goes with the order that it came from', async (bench) => {
      await endAll(bench, await bench.putAll([{}, {}, {}]));
      for (const state of [null, 'cancelled'] as const) {
        for (const [order, other] of [
          ['oldest', 'newest'],
          ['newest', 'oldest'],
        ] as const) {
          const query = { queue: 'q', state, type: null, limit: 1 };
          const { next } = await bench.store.list({ ...query, order, cursor: null });
          assert.ok(next);
          await assert.rejects(bench.store.list({ ...query, order: other, cursor: next }), InvalidCursor);
          const elsewhere = state === null ? 'cancelled' : null;
          await assert.rejects(bench.store.list({ ...query, state: elsewhere, order, cursor: next }), InvalidCursor);
        }
      }
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

    rule('a rare type or tag is found among many tasks, by bounded pages', async (bench) => {
      for (let round = 0; round < 3; round++) {
        await bench.putAll(
          Array.from({ length: 1000 }, (_, number) =>
            number === 999 ? { type: 'rare', tags: ['rare'] } : { type: 'common', tags: ['common'] },
          ),
        );
      }
      for (const filter of [{ type: 'rare' }, { tag: 'rare' }, { type: 'rare', tag: 'rare' }]) {
        for (const order of ['oldest', 'newest'] as const) {
          assert.equal((await bench.list({ ...filter, order, limit: 10 })).length, 3);
        }
      }
      assert.deepEqual(await bench.list({ errorCode: 'rare', limit: 10 }), []);
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
