import assert from 'node:assert/strict';
import type { JsonText } from '../../src/domain/json-text.ts';
import type { NewTask, TaskRecord } from '../../src/domain/task.ts';
import { ANY, begin, die, dieTogether, finish, like, step } from './redrives.ts';
import { held, json, only, type Theme, type Workbench } from './workbench.ts';

const DAY_MS = 86_400_000;
/** Enough of them that, where a store has several parts, some live in that of `q` and some in others. */
const TARGETS = ['elsewhere', 'apart', 'aside', 'away', 'beyond', 'yonder'];
const UNIQUE = { key: 'k', until: 'finished', ttlMs: null, onConflict: 'reject' } as const;

/** What a producer asked for that a queue of any name keeps. */
const ASKED: Partial<NewTask> = {
  ...{
    type: 'mail',
    payload: '[9007199254740993,"ä😀|;,",1e400]' as JsonText,
    priority: 7,
    tags: ['eu', 'a|b'],
    metadata: { k: 'v' },
  },
  ...{ trace: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'x=1' }, groupKey: 'g' },
  ...{
    unique: UNIQUE,
    maxAttempts: 3,
    leaseMs: 5000,
    backoff: { type: 'fixed', baseMs: 1234, maxMs: 9999, jitter: 0 },
    retentionMs: 7000,
  },
};

/** Tasks of a queue in the order in which they were made. */
async function tasksOf(bench: Workbench, queue: string): Promise<TaskRecord[]> {
  return bench.list({ queue });
}

async function countsOf(bench: Workbench, queue: string): Promise<[ready: number, dead: number]> {
  const { ready, dead } = (await bench.queue(queue)).counts;
  return [ready, dead];
}

export const redriveTo: Theme = {
  name: 'redrive into another queue',
  rules(rule) {
    for (const to of TARGETS) {
      rule(
        `the dead are new tasks of "${to}", in the order in which they died, and gone from their own`,
        async (bench) => {
          const ids = [await die(bench, { payload: json(0) }), await die(bench, { payload: json(1) })];
          const left = await bench.put();
          const id = await begin(bench, { to });
          const ended = await finish(bench, id);
          assert.deepEqual([ended.state, ended.queue, ended.to], ['completed', 'q', to]);
          assert.deepEqual([ended.seen, ended.total, ended.matched, ended.moved], [2, 2, 2, 2]);
          assert.deepEqual([await bench.find(ids[0] ?? ''), await bench.find(ids[1] ?? '')], [null, null]);
          const moved = await tasksOf(bench, to);
          assert.deepEqual(
            moved.map(({ state, attempt, deliveries, payload }) => [state, attempt, deliveries, payload]),
            [
              ['ready', 0, 0, '0'],
              ['ready', 0, 0, '1'],
            ],
          );
          for (const task of moved) {
            assert.ok(!ids.includes(task.id));
            assert.equal(task.id.slice(0, 2), bench.store.newTaskId(to).slice(0, 2), 'an id says where its task lives');
            assert.deepEqual([task.createdAt, task.runAt, task.finishedAt], [bench.now(), bench.now(), null]);
          }
          const [source, target] = [await bench.queue(), await bench.queue(to)];
          assert.deepEqual([source.counts.dead, source.totals.dead, source.totals.enqueued], [0, 2, 3]);
          assert.deepEqual([target.counts.ready, target.counts.dead, target.totals.enqueued], [2, 0, 2]);
          assert.deepEqual(
            (await tasksOf(bench, 'q')).map((task) => task.id),
            [left.id],
          );
          assert.deepEqual(
            await bench.drain(to),
            moved.map((task) => task.id),
          );
        },
      );
    }

    rule(
      'what its producer asked for and its workers said is kept, but for its queue, its time and its key',
      async (bench) => {
        const idempotency = { key: 'i', fingerprint: 'f' };
        await bench.put({ ...ASKED, ttlMs: 60_000, idempotency, delayMs: 10 });
        await bench.pass(10);
        const grant = await bench.take();
        await bench.heartbeat(held(grant), { progress: json(1), checkpoint: json(2) });
        await bench.nack(held(grant), { retryable: false, error: { code: 'x', message: 'ä', details: json([1]) } });
        const { lastError: error } = await bench.get(grant.task.id);
        assert.equal(error?.code, 'x');
        await bench.advance(5);
        await finish(bench, await begin(bench, { to: 'other' }));
        const task = only(await tasksOf(bench, 'other'));
        const { id, queue, createdAt, runAt, expiresAt, uniqueKey, state, lastError, progress, checkpoint, ...rest } =
          task;
        assert.deepEqual(
          [queue, createdAt, runAt, expiresAt, state],
          ['other', bench.now(), bench.now(), null, 'ready'],
        );
        assert.deepEqual([uniqueKey, lastError, progress, checkpoint], ['k', error, '1', '2']);
        const { type, payload, priority, tags, metadata, trace, groupKey, maxAttempts } = ASKED;
        assert.deepEqual(rest, {
          ...{ type, payload, priority, tags, metadata, trace, groupKey, maxAttempts, attempt: 0, deliveries: 0 },
          ...{ finishedAt: null, lease: null, result: null, cancelRequested: false },
        });
        // The lease that it asked for, the group, the unique key and the retention are in force there.
        const again = await bench.enqueue([bench.task({ unique: UNIQUE }, 'other')], 'other');
        assert.equal(again.outcome, 'unique_conflict');
        const blocked = await bench.put({ groupKey: 'g' }, 'other');
        assert.equal(blocked.state, 'blocked');
        const taken = await bench.take({}, 'other');
        assert.deepEqual([taken.task.id, taken.task.lease?.expiresAt], [id, bench.now() + 5000]);
        assert.equal(taken.task.checkpoint, '2');
        await bench.nack(held(taken));
        assert.equal((await bench.get(id)).runAt, bench.now() + 1234);
        await bench.pass(1234);
        await bench.ack(held(await bench.take({}, 'other')));
        await bench.pass(7000);
        assert.equal(await bench.find(id), null);
        // And its key is not: that was for the other queue, where it goes on answering.
        const task2 = bench.task({ idempotency }, 'other');
        assert.equal((await bench.enqueue([task2], 'other')).outcome, 'stored');
        assert.notEqual(await bench.find(task2.id), null);
      },
    );

    rule('one of which workers said something is leased, in its order among others, like any other', async (bench) => {
      const claims = await bench
        .putAll([{ payload: json(0) }, { payload: json(1) }, { payload: json(2) }])
        .then(() => bench.lease({ max: 3 }));
      for (const [at, grant] of claims.entries()) {
        if (at === 1) await bench.heartbeat(held(grant), { checkpoint: json('there') });
        await bench.nack(held(grant), { retryable: false });
      }
      await finish(bench, await begin(bench, { to: 'other' }));
      const grants = await bench.lease({ max: 3 }, 'other');
      assert.deepEqual(
        grants.map(({ task }) => [task.payload, task.checkpoint, task.attempt, task.deliveries]),
        [
          ['0', null, 1, 1],
          ['1', '"there"', 1, 1],
          ['2', null, 1, 1],
        ],
      );
      for (const grant of grants) await bench.ack(held(grant), { result: json('done') });
      const done = await bench.get(grants[1]?.task.id ?? '');
      assert.deepEqual([done.state, done.checkpoint, done.result], ['completed', '"there"', '"done"']);
    });

    rule('an idempotency key goes on answering with the task that it stored, as when that is pruned', async (bench) => {
      const idempotency = { key: 'i', fingerprint: 'f' };
      const asked = bench.task({ idempotency });
      await bench.enqueue([asked]);
      const { token } = await bench.take();
      await bench.nack({ id: asked.id, token }, { retryable: false });
      await finish(bench, await begin(bench, { to: 'other' }));
      const again = await bench.enqueue([bench.task({ idempotency })]);
      const stored = again.outcome === 'stored' ? only(again.tasks) : null;
      assert.deepEqual([stored?.replayed, stored?.task.id, stored?.task.state], [true, asked.id, 'dead']);
      assert.deepEqual(await tasksOf(bench, 'q'), []);
    });

    rule('a census finds nothing after any of its steps', async (bench) => {
      await bench.store.configure('other', { maxBacklog: 4 }, 'merge');
      await bench.put({ unique: UNIQUE }, 'other');
      await dieTogether(bench, [
        { ...ASKED, idempotency: { key: 'i', fingerprint: 'f' } },
        { retentionMs: 9000 },
        ...like(4),
      ]);
      const id = await begin(bench, { to: 'other' });
      let full = 0;
      for (let steps = 0, ended = false; !ended; steps++) {
        assert.ok(steps < 20);
        const stepped = await step(bench, id, 1);
        ended = stepped.nextAt === null;
        assert.deepEqual(await bench.findings(), []);
        if (!stepped.full) continue;
        full += 1;
        for (const grant of await bench.lease({ max: 2 }, 'other')) await bench.ack(held(grant));
        await bench.advance(1000);
      }
      assert.ok(full > 0);
      // The first found its unique key held.
      assert.deepEqual(await countsOf(bench, 'q'), [0, 1]);
      const cancelled = await begin(bench, { to: 'elsewhere' });
      await bench.store.cancelOperations([cancelled]);
      assert.deepEqual(await bench.findings(), []);
    });

    rule('late settles find the task gone', async (bench) => {
      const { id } = await bench.put({ maxAttempts: 1, leaseMs: 100 });
      const grant = await bench.take();
      await bench.pass(100);
      assert.equal(await bench.state(id), 'dead');
      await finish(bench, await begin(bench, { to: 'other' }));
      assert.deepEqual(await bench.ack(held(grant)), { outcome: 'refused', code: 'task_not_found' });
      assert.deepEqual(await countsOf(bench, 'other'), [1, 0]);
    });

    rule('the queue itself is no other queue', async (bench) => {
      const id = await die(bench);
      const ended = await finish(bench, await begin(bench, { to: 'q' }));
      assert.deepEqual([ended.to, ended.moved, await bench.state(id)], [null, 1, 'ready']);
    });

    rule('only what the filter means goes, up to max', async (bench) => {
      const kept = await die(bench, { type: 'a' }, 'x');
      await dieTogether(bench, [...like(3, { type: 'b' }), { type: 'a' }], 'x');
      const filter = { ...ANY, type: 'b', errorCode: 'x' };
      const ended = await finish(bench, await begin(bench, { to: 'other', filter, max: 2 }));
      assert.deepEqual([ended.seen, ended.matched, ended.moved], [3, 2, 2]);
      assert.deepEqual([await bench.state(kept), await countsOf(bench, 'q')], ['dead', [0, 3]]);
      assert.deepEqual(await countsOf(bench, 'other'), [2, 0]);
      const none = await finish(bench, await begin(bench, { to: 'other', filter: { ...ANY, type: 'c' } }));
      assert.deepEqual([none.seen, none.matched, none.moved], [3, 0, 0]);
    });

    rule(
      'a step deals with no more than is asked for, and one goes on where the one before it ended',
      async (bench) => {
        await dieTogether(
          bench,
          Array.from({ length: 300 }, (_, at) => ({ payload: json(at) })),
        );
        const id = await begin(bench, { to: 'other' });
        const moved: number[] = [];
        for (let nextAt: number | null = 0; nextAt !== null; ) {
          const stepped = await step(bench, id, 64);
          moved.push(stepped.operation.moved);
          assert.equal(stepped.operation.seen, stepped.operation.moved);
          ({ nextAt } = stepped);
        }
        assert.deepEqual(moved, [64, 128, 192, 256, 300]);
        const order = (await tasksOf(bench, 'other')).map(({ payload }) => Number(payload));
        assert.deepEqual(
          order,
          Array.from({ length: 300 }, (_, at) => at),
        );
      },
    );

    rule('a step takes about a MiB at most, or a single task that is larger', async (bench) => {
      const payload = json('x'.repeat(300_000));
      await dieTogether(bench, [...like(5, { payload }), { payload: json('x'.repeat(1_500_000)) }, ...like(2)]);
      const id = await begin(bench, { to: 'other' });
      const moved: number[] = [];
      for (let steps = 0; steps < 4; steps++) moved.push((await step(bench, id, 64)).operation.moved);
      assert.deepEqual(moved, [3, 5, 6, 8]);
    });

    rule('what dies meanwhile is left alone, and so is what dies again in the other queue', async (bench) => {
      await dieTogether(bench, like(3));
      const id = await begin(bench, { to: 'other' });
      await step(bench, id, 1);
      await bench.advance(1);
      const grant = await bench.take({}, 'other');
      await bench.nack(held(grant), { retryable: false });
      const later = await die(bench);
      const ended = await finish(bench, id);
      assert.deepEqual([ended.seen, ended.moved, await bench.state(later)], [3, 3, 'dead']);
      assert.deepEqual(await countsOf(bench, 'other'), [2, 1]);
    });

    rule('one whose unique key is held there stays as it was, and is counted as not moved', async (bench) => {
      const own = { ...UNIQUE, until: 'ttl', ttlMs: 60_000 } as const;
      const idempotency = { key: 'i', fingerprint: 'f' };
      const asked = bench.task({ unique: own, idempotency, retentionMs: 9000, groupKey: 'g' });
      await bench.enqueue([asked]);
      const claim = held(await bench.take());
      await bench.heartbeat(claim, { checkpoint: json(1) });
      await bench.nack(claim, { retryable: false, error: { code: 'x', message: 'm', details: null } });
      const before = await bench.get(asked.id);
      await bench.put({ unique: UNIQUE }, 'other');
      await bench.advance(1);
      const free = await die(bench);
      const ended = await finish(bench, await begin(bench, { to: 'other' }));
      assert.deepEqual([ended.seen, ended.matched, ended.moved], [2, 2, 1]);
      assert.deepEqual([await bench.get(asked.id), await bench.find(free)], [before, null]);
      assert.deepEqual(
        [await countsOf(bench, 'q'), await countsOf(bench, 'other')],
        [
          [0, 1],
          [2, 0],
        ],
      );
      assert.deepEqual(
        (await bench.list({ state: 'dead' })).map(({ id }) => id),
        [asked.id],
      );
      // Its keys are still its own, and so is the time it is kept.
      assert.equal((await bench.enqueue([bench.task({ unique: own })])).outcome, 'unique_conflict');
      const again = await bench.enqueue([bench.task({ idempotency })]);
      assert.equal(again.outcome === 'stored' && only(again.tasks).replayed, true);
      const due = (before.finishedAt ?? 0) + 9000;
      await bench.pass(due - bench.now() - 1);
      assert.equal(await bench.state(asked.id), 'dead');
      await bench.pass(1);
      assert.equal(await bench.find(asked.id), null);
    });

    rule('of two with one unique key the second stays dead', async (bench) => {
      const ids = [await die(bench, { unique: UNIQUE }), await die(bench, { unique: UNIQUE })];
      const ended = await finish(bench, await begin(bench, { to: 'other' }));
      assert.deepEqual([ended.matched, ended.moved], [2, 1]);
      assert.deepEqual([await bench.find(ids[0] ?? ''), await bench.state(ids[1] ?? '')], [null, 'dead']);
    });

    rule('a queue that is full is waited for, a second at a time, and nothing is passed over', async (bench) => {
      await dieTogether(bench, [...like(2, { type: 'a' }), { type: 'b' }, ...like(3, { type: 'a' })]);
      await bench.store.configure('other', { maxBacklog: 3 }, 'merge');
      const id = await begin(bench, { to: 'other', filter: { ...ANY, type: 'a' } });
      const first = await step(bench, id);
      assert.deepEqual([first.full, first.nextAt, first.operation.state], [true, bench.now() + 1000, 'running']);
      const { seen, matched, moved, total } = first.operation;
      assert.deepEqual([seen, matched, moved, total], [4, 3, 3, 6]);
      assert.deepEqual(await countsOf(bench, 'q'), [0, 3]);
      assert.equal((await bench.list({ state: 'dead' })).length, 3);
      assert.equal((await step(bench, id)).full, false, 'before its time nothing is tried');
      await bench.advance(1000);
      const second = await step(bench, id, 1);
      assert.deepEqual([second.full, second.operation.seen, second.operation.moved], [true, 4, 3]);
      for (const grant of await bench.lease({ max: 3 }, 'other')) await bench.ack(held(grant));
      await bench.advance(1000);
      const ended = await finish(bench, id);
      assert.deepEqual([ended.state, ended.seen, ended.matched, ended.moved], ['completed', 6, 5, 5]);
      assert.deepEqual(await countsOf(bench, 'other'), [2, 0]);
    });

    rule('a rate is never exceeded', async (bench) => {
      await dieTogether(bench, like(30));
      const id = await begin(bench, { to: 'other', ratePerSec: 100 });
      assert.equal((await step(bench, id, 10)).nextAt, bench.now() + 100);
      await bench.advance(99);
      assert.equal((await step(bench, id, 10)).operation.moved, 10);
      await bench.advance(1);
      assert.equal((await step(bench, id, 10)).operation.moved, 20);
    });

    rule('progress is kept: after a restart the next step goes on', async (bench) => {
      await dieTogether(bench, like(100));
      const id = await begin(bench, { to: 'other' });
      await step(bench, id, 64);
      await bench.reopen();
      const running = await bench.store.runningOperations();
      assert.deepEqual(
        running.map((found) => [found.id, found.to, found.moved]),
        [[id, 'other', 64]],
      );
      await bench.advance(2000);
      assert.equal((await finish(bench, id)).moved, 100);
      assert.deepEqual(
        [await countsOf(bench, 'q'), await countsOf(bench, 'other')],
        [
          [0, 0],
          [100, 0],
        ],
      );
    });

    rule('a cancelled one goes no further, and is done with', async (bench) => {
      await dieTogether(bench, like(10));
      const id = await begin(bench, { to: 'other' });
      await step(bench, id, 4);
      const cancelled = only((await bench.store.cancelOperations([id])).results);
      assert.deepEqual([cancelled?.state, cancelled?.moved, cancelled?.total], ['cancelled', 4, 10]);
      assert.deepEqual(await bench.store.runningOperations(), []);
      await bench.advance(5);
      assert.deepEqual(await step(bench, id), { operation: cancelled, nextAt: null, full: false });
      assert.deepEqual(
        [await countsOf(bench, 'q'), await countsOf(bench, 'other')],
        [
          [0, 6],
          [4, 0],
        ],
      );
    });

    rule('one that runs is ended before it is forgotten', async (bench) => {
      await dieTogether(bench, like(10));
      const id = await begin(bench, { to: 'other' });
      await step(bench, id, 4);
      assert.deepEqual((await bench.store.forgetOperations([id, 'never'])).results, [true, false]);
      assert.deepEqual((await bench.store.operations([id])).results, [null]);
      assert.deepEqual(await bench.store.runningOperations(), []);
      assert.deepEqual(
        [await countsOf(bench, 'q'), await countsOf(bench, 'other')],
        [
          [0, 6],
          [4, 0],
        ],
      );
    });

    rule('two at once from one queue take each task once', async (bench) => {
      await dieTogether(bench, like(20));
      const ids = [await begin(bench, { to: 'other' }), await begin(bench, { to: 'apart' })];
      for (let round = 0; round < 10; round++) for (const id of ids) await step(bench, id, 3);
      const [other, apart] = [await countsOf(bench, 'other'), await countsOf(bench, 'apart')];
      assert.equal(other[0] + apart[0], 20);
      assert.ok(other[0] >= 9 && apart[0] >= 9);
      assert.deepEqual(await countsOf(bench, 'q'), [0, 0]);
    });

    rule('nothing is left behind', async (bench) => {
      const retention = { completedMs: 1000, deadMs: 1000 };
      for (const queue of ['q', ...TARGETS]) await bench.store.configure(queue, { retention }, 'merge');
      await bench.sweep();
      const baseline = await bench.stored();
      await bench.put({ unique: UNIQUE }, 'apart');
      for (const to of TARGETS) {
        await die(bench, ASKED);
        await die(bench, { idempotency: { key: to, fingerprint: 'f' } }, 'x');
        await finish(bench, await begin(bench, { to }));
      }
      for (const queue of ['q', ...TARGETS]) {
        await bench.sweep();
        for (let grants = await bench.lease({ max: 100 }, queue); grants.length > 0; ) {
          for (const grant of grants) await bench.ack(held(grant));
          grants = await bench.lease({ max: 100 }, queue);
        }
      }
      await bench.pass(10_000);
      await bench.pass(DAY_MS);
      await bench.pass(1);
      // A new operation clears away those that are kept no longer.
      await bench.store.cancelOperations([await begin(bench, { queue: 'q' })]);
      await bench.advance(DAY_MS);
      await bench.store.cancelOperations([await begin(bench, { queue: 'q' })]);
      assert.deepEqual(
        (await bench.stored()).filter((name) => !name.includes('operation')),
        baseline,
      );
    });
  },
};
