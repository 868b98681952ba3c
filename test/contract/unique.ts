import assert from 'node:assert/strict';
import type { NewTask, TaskRecord } from '../../src/domain/task.ts';
import { ON_UNIQUE_CONFLICT, type OnUniqueConflict, UNIQUE_UNTIL, type UniqueUntil } from '../../src/domain/unique.ts';
import type { EnqueuedTask, EnqueueOutcome } from '../../src/store/store.ts';
import { held, only, type Theme, type Workbench } from './workbench.ts';

const TTL_MS = 60_000;

function unique(
  key: string,
  part: { until?: UniqueUntil; ttlMs?: number; onConflict?: OnUniqueConflict } = {},
): Pick<NewTask, 'unique'> {
  const { until = 'finished', onConflict = 'return' } = part;
  return { unique: { key, until, ttlMs: until === 'ttl' ? (part.ttlMs ?? TTL_MS) : null, onConflict } };
}

/** What becomes of a task that is posted under the key. */
async function post(bench: Workbench, key: string, part: Parameters<typeof unique>[1] = {}): Promise<EnqueuedTask> {
  return only(stored(await bench.enqueue([bench.task(unique(key, part))])));
}

function stored(outcome: EnqueueOutcome): readonly EnqueuedTask[] {
  if (outcome.outcome !== 'stored') throw new assert.AssertionError({ message: `refused: ${outcome.outcome}` });
  return outcome.tasks;
}

/** Whether a task posted now under the key finds it free. */
async function isFree(bench: Workbench, key: string): Promise<boolean> {
  const { results } = await bench.store.tryEnqueue([
    { queue: 'q', tasks: [bench.task(unique(key, { onConflict: 'reject' }))] },
  ]);
  return only(results) === null;
}

/** The ways in which a task comes to an end, one that is leased unless said otherwise. */
const ENDS: Record<string, (bench: Workbench, task: TaskRecord) => Promise<unknown>> = {
  'an ack': async (bench) => bench.ack(held(await bench.take())),
  'a nack that is final': async (bench) => bench.nack(held(await bench.take()), { retryable: false }),
  'a lease that runs out for the last time': async (bench) => {
    await bench.take({ leaseMs: 100 });
    await bench.pass(100);
  },
  'a cancel': (bench, { id }) => bench.cancel(id),
  'a forced cancel': async (bench, { id }) => {
    await bench.take();
    await bench.cancel(id, { force: true });
  },
  'a cancel that a worker hears of': async (bench, { id }) => {
    const grant = await bench.take();
    await bench.cancel(id);
    await bench.release(held(grant));
  },
  'its ttl': (bench) => bench.pass(5000),
  'a late ack': async (bench) => {
    const grant = await bench.take({ leaseMs: 100 });
    await bench.pass(100);
    await bench.ack(held(grant));
  },
};

/** The ways in which a task is deleted. */
const DELETIONS: Record<string, (bench: Workbench, task: TaskRecord) => Promise<unknown>> = {
  'a purge while it waits': (bench) => bench.store.purge('q', 'ready', 10),
  'a purge while it is leased': async (bench) => {
    await bench.take();
    await bench.store.purge('q', 'leased', 10);
  },
  'a deletion': async (bench, { id }) => {
    await bench.cancel(id);
    await bench.store.remove([id]);
  },
  retention: async (bench) => {
    await bench.store.configure('q', { retention: { completedMs: 500 } }, 'merge');
    await bench.ack(held(await bench.take()));
    await bench.pass(500);
  },
  'the deletion of its queue': async (bench, { id }) => {
    await bench.cancel(id);
    assert.equal(await bench.store.dropQueue('q'), 'deleted');
  },
};

export const uniqueTasks: Theme = {
  name: 'unique tasks',
  rules(rule) {
    rule('a second task of a key is answered with the first one, and nothing is stored', async (bench) => {
      const first = await post(bench, 'k');
      assert.deepEqual([first.deduplicated, first.replayed, first.task.uniqueKey], [false, false, 'k']);
      await bench.advance(10);
      assert.deepEqual(await post(bench, 'k'), { task: first.task, replayed: false, deduplicated: true });
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.ready, totals.enqueued], [1, 1]);
      const grant = await bench.take();
      assert.deepEqual((await post(bench, 'k')).task, grant.task);
    });

    rule('keys are told apart by queue, and by every character', async (bench) => {
      await post(bench, 'k');
      for (const key of ['K', 'k ', 'ключ', '😀', 'a|b', 'x'.repeat(255)]) {
        assert.equal((await post(bench, key)).deduplicated, false, key);
        assert.equal((await post(bench, key)).deduplicated, true, key);
      }
      const other = await bench.enqueue([bench.task(unique('k'), 'p')], 'p');
      assert.equal(only(stored(other)).deduplicated, false);
    });

    rule('a task that asked to be refused is refused, and nothing of its call is stored', async (bench) => {
      await post(bench, 'k');
      const outcome = await bench.enqueue([
        bench.task(),
        bench.task(unique('free')),
        bench.task(unique('k', { onConflict: 'reject' })),
      ]);
      assert.deepEqual(outcome, { outcome: 'unique_conflict', indexes: [2] });
      assert.equal((await bench.list()).length, 1);
      assert.ok(await isFree(bench, 'free'));
      const several = await bench.enqueue([
        bench.task(unique('k', { onConflict: 'reject' })),
        bench.task(unique('free')),
        bench.task(unique('free', { onConflict: 'reject' })),
        bench.task(unique('other', { onConflict: 'reject' })),
      ]);
      assert.deepEqual(several, { outcome: 'unique_conflict', indexes: [0, 2] });
      assert.ok(await isFree(bench, 'free'));
      const fresh = await bench.store.enqueue([
        { queue: 'new', tasks: [1, 2].map(() => bench.task(unique('k', { onConflict: 'reject' }), 'new')) },
      ]);
      assert.deepEqual(fresh.results, [{ outcome: 'unique_conflict', indexes: [1] }]);
      assert.equal((await bench.store.queue('new')).queue, null);
    });

    rule('a replacement cancels the holder that waits, and says so', async (bench) => {
      for (const part of [{}, { delayMs: 1000 }]) {
        const first = await bench.put({ ...part, ...unique('k') });
        const outcome = await bench.enqueue([bench.task(unique('k', { onConflict: 'replace' }))]);
        const next = only(stored(outcome));
        assert.equal(next.deduplicated, false);
        assert.deepEqual(outcome.outcome === 'stored' && outcome.ended, [first.id]);
        const { state, lastError, finishedAt } = await bench.get(first.id);
        assert.deepEqual([state, finishedAt], ['cancelled', bench.now()]);
        assert.equal(lastError?.message, `Replaced by task ${next.task.id}`);
        assert.deepEqual((await post(bench, 'k')).task, next.task);
        await bench.cancel(next.task.id);
      }
    });

    rule('a replacement takes nothing from a worker: it is answered with what is leased', async (bench) => {
      await post(bench, 'k');
      const grant = await bench.take({ leaseMs: 100 });
      const answered = await post(bench, 'k', { onConflict: 'replace' });
      assert.deepEqual(answered, { task: grant.task, replayed: false, deduplicated: true });
      assert.equal((await bench.get(grant.task.id)).cancelRequested, false);
      // The lease has run out, whether somebody has swept or not: the task waits.
      await bench.advance(100);
      const next = await post(bench, 'k', { onConflict: 'replace' });
      assert.equal(next.deduplicated, false);
      assert.equal(await bench.state(grant.task.id), 'cancelled');
      assert.deepEqual(await bench.drain(), [next.task.id]);
    });

    for (const [end, bring] of Object.entries(ENDS)) {
      for (const until of UNIQUE_UNTIL) {
        rule(
          `${end} ${until === 'ttl' ? 'leaves a key for its time' : `frees a key until ${until}`}`,
          async (bench) => {
            const { task } = await (async () => {
              const parts = { maxAttempts: end === 'a late ack' ? 2 : 1, ttlMs: 5000 };
              return only(stored(await bench.enqueue([bench.task({ ...parts, ...unique('k', { until }) })])));
            })();
            assert.equal(await isFree(bench, 'k'), false);
            await bring(bench, task);
            assert.equal(await isFree(bench, 'k'), until !== 'ttl');
            assert.equal((await post(bench, 'k')).deduplicated, until === 'ttl');
            assert.equal((await bench.get(task.id)).uniqueKey, 'k');
          },
        );
      }
    }

    for (const [deletion, bring] of Object.entries(DELETIONS)) {
      for (const until of UNIQUE_UNTIL) {
        rule(`${deletion} frees a key until ${until}`, async (bench) => {
          const { task } = await post(bench, 'k', { until });
          await bring(bench, task);
          assert.equal(await bench.find(task.id), null);
          assert.ok(await isFree(bench, 'k'));
          assert.equal((await post(bench, 'k')).deduplicated, false);
        });
      }
    }

    rule('what waits again holds its key, unless it was for the time until it started', async (bench) => {
      for (const until of UNIQUE_UNTIL) {
        const { task } = await post(bench, until, { until });
        for (const again of ['nack', 'release', 'expiry'] as const) {
          const grant = await bench.take({ leaseMs: 100 });
          assert.equal(await isFree(bench, until), until === 'started', again);
          if (again === 'nack') await bench.nack(held(grant), { delayMs: 0 });
          if (again === 'release') await bench.release(held(grant));
          await bench.pass(100);
          assert.equal(await isFree(bench, until), until === 'started', again);
        }
        await bench.cancel(task.id);
      }
    });

    rule('a lease that is revived has its key all along', async (bench) => {
      await post(bench, 'k');
      const grant = await bench.take({ leaseMs: 100 });
      await bench.pass(100);
      assert.equal((await bench.heartbeat(held(grant))).outcome, 'settled');
      assert.equal(await isFree(bench, 'k'), false);
    });

    rule(
      'a key for a time is free when that has passed since the creation, whatever became of the task',
      async (bench) => {
        for (const end of [false, true]) {
          await post(bench, `${end}`, { until: 'ttl', ttlMs: 1000 });
          const grant = await bench.take();
          if (end) await bench.ack(held(grant));
          await bench.advance(999);
          assert.equal(await isFree(bench, `${end}`), false);
          await bench.advance(1);
          const next = await post(bench, `${end}`, { until: 'ttl', ttlMs: 1000 });
          assert.equal(next.deduplicated, false);
          assert.equal((await post(bench, `${end}`)).task.id, next.task.id);
          await bench.store.purge('q', 'ready', 10);
        }
      },
    );

    rule('a replacement takes a key for a time from what was cancelled, not from what has run', async (bench) => {
      const first = await post(bench, 'k', { until: 'ttl' });
      await bench.cancel(first.task.id);
      assert.equal((await post(bench, 'k')).task.id, first.task.id);
      const outcome = await bench.enqueue([bench.task(unique('k', { until: 'ttl', onConflict: 'replace' }))]);
      const second = only(stored(outcome));
      assert.deepEqual([second.deduplicated, 'ended' in outcome], [false, false]);
      await bench.ack(held(await bench.take()));
      const third = await post(bench, 'k', { until: 'ttl', onConflict: 'replace' });
      assert.deepEqual([third.deduplicated, third.task.id, third.task.state], [true, second.task.id, 'completed']);
    });

    rule('a holder whose time is over is none, whether somebody has swept or not', async (bench) => {
      const waiting = await bench.put({ ttlMs: 100, ...unique('waiting') });
      const leased = await bench.put({ maxAttempts: 1, priority: 9, ...unique('leased') });
      await bench.take({ leaseMs: 100 });
      await bench.advance(100);
      for (const [key, task, state] of [
        ['waiting', waiting, 'expired'],
        ['leased', leased, 'dead'],
      ] as const) {
        assert.ok(await isFree(bench, key));
        const outcome = await bench.enqueue([bench.task(unique(key))]);
        assert.equal(only(stored(outcome)).deduplicated, false);
        assert.deepEqual(outcome.outcome === 'stored' && outcome.ended, [task.id]);
        assert.equal(await bench.state(task.id), state);
      }
    });

    rule('tasks of one call meet each other as those of calls one after the other', async (bench) => {
      const [first, second, third, fourth] = stored(
        await bench.enqueue([
          bench.task(unique('k')),
          bench.task(unique('k')),
          bench.task(unique('k', { onConflict: 'replace' })),
          bench.task(unique('k')),
        ]),
      );
      assert.ok(first && second && third && fourth);
      assert.deepEqual(
        [first, second, third, fourth].map(({ deduplicated }) => deduplicated),
        [false, true, false, true],
      );
      assert.deepEqual([second.task.id, fourth.task.id], [first.task.id, third.task.id]);
      assert.deepEqual([await bench.state(first.task.id), await bench.state(third.task.id)], ['cancelled', 'ready']);
    });

    rule('an idempotency key is answered first, and only what is stored uses one up', async (bench) => {
      const keyed = (key: string, fingerprint = 'f') => ({ idempotency: { key, fingerprint } });
      const first = only(stored(await bench.enqueue([bench.task({ ...keyed('i'), ...unique('k') })])));
      const again = only(
        stored(await bench.enqueue([bench.task({ ...keyed('i'), ...unique('k', { onConflict: 'reject' }) })])),
      );
      assert.deepEqual(again, { task: first.task, replayed: true, deduplicated: false });
      const deduplicated = await bench.enqueue([bench.task({ ...keyed('j'), ...unique('k') })]);
      assert.equal(only(stored(deduplicated)).deduplicated, true);
      const other = await bench.enqueue([bench.task({ ...keyed('j', 'another body') })]);
      assert.deepEqual(
        stored(other).map(({ replayed, deduplicated: found }) => [replayed, found]),
        [[false, false]],
      );
      await bench.ack(held(await bench.take()));
      assert.equal(only(stored(await bench.enqueue([bench.task({ ...keyed('i'), ...unique('k') })]))).replayed, true);
    });

    rule('storing a task again changes nothing, whoever holds its key by now', async (bench) => {
      const task = bench.task(unique('k', { onConflict: 'reject' }));
      const first = only(stored(await bench.enqueue([task])));
      assert.deepEqual(only(stored(await bench.enqueue([task]))), first);
      await bench.cancel(task.id);
      await post(bench, 'k');
      const again = only(stored(await bench.enqueue([task])));
      assert.deepEqual([again.task.state, again.deduplicated, again.replayed], ['cancelled', false, false]);
    });

    rule('a redriven task holds its key again', async (bench) => {
      for (const until of UNIQUE_UNTIL) {
        const { task } = await post(bench, until, { until });
        await bench.cancel(task.id);
        const redriven = await bench.redrive(task.id);
        assert.deepEqual([redriven.state, redriven.uniqueKey], ['ready', until]);
        assert.equal(await isFree(bench, until), false);
        await bench.ack(held(await bench.take()));
        assert.equal(await isFree(bench, until), until !== 'ttl');
      }
    });

    rule('a task is not redriven while another one holds its key', async (bench) => {
      for (const until of UNIQUE_UNTIL) {
        const { task } = await post(bench, until, { until, ttlMs: 1000 });
        await bench.cancel(task.id);
        await bench.advance(1000);
        const { task: next } = await post(bench, until, { ttlMs: 1000 });
        assert.deepEqual((await bench.store.redrive([task.id])).results, [
          { outcome: 'refused', code: 'unique_conflict' },
        ]);
        assert.equal(await bench.state(task.id), 'cancelled');
        await bench.cancel(next.id);
        assert.equal((await bench.redrive(task.id)).state, 'ready');
        // The time of a key for a time counts from the creation.
        assert.equal(await isFree(bench, until), until === 'ttl');
      }
    });

    rule('of many tasks of one key that are posted at once, one is stored', async (bench) => {
      const outcomes = await Promise.all(Array.from({ length: 200 }, () => bench.enqueue([bench.task(unique('k'))])));
      const tasks = outcomes.flatMap(stored);
      assert.equal(new Set(tasks.map(({ task }) => task.id)).size, 1);
      assert.equal(tasks.filter(({ deduplicated }) => !deduplicated).length, 1);
      assert.equal((await bench.queue()).totals.enqueued, 1);
    });

    rule('keys are there after the store is opened again', async (bench) => {
      const { task } = await post(bench, 'k');
      await bench.reopen();
      assert.equal((await post(bench, 'k')).task.id, task.id);
    });

    rule('what to do about a conflict is asked for by each task anew', async (bench) => {
      for (const onConflict of ON_UNIQUE_CONFLICT) await post(bench, onConflict, { onConflict });
      for (const key of ON_UNIQUE_CONFLICT) assert.equal((await post(bench, key)).deduplicated, true);
    });
  },
};
