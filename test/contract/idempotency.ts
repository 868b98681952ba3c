import assert from 'node:assert/strict';
import type { NewTask } from '../../src/domain/task.ts';
import type { EnqueuedTask } from '../../src/store/store.ts';
import { held, json, only, type Theme, type Workbench } from './workbench.ts';

const DAY_MS = 86_400_000;

const keyed = (key: string, fingerprint = 'f'): Pick<NewTask, 'idempotency'> => ({ idempotency: { key, fingerprint } });

/** Stores one task under a key; the reply's part for it. */
async function use(bench: Workbench, key: string, parts: Partial<NewTask> = {}, queue = 'q'): Promise<EnqueuedTask> {
  const outcome = await bench.enqueue([bench.task({ ...keyed(key), ...parts }, queue)], queue);
  if (outcome.outcome !== 'stored') throw new assert.AssertionError({ message: 'the key was refused' });
  return only(outcome.tasks);
}

export const idempotency: Theme = {
  name: 'idempotency keys',
  rules(rule) {
    rule('the same key with the same body answers the first task', async (bench) => {
      const first = await use(bench, 'k');
      await bench.advance(1000);
      const again = await use(bench, 'k');
      assert.deepEqual(again, { task: first.task, replayed: true, deduplicated: false });
      assert.equal(first.replayed, false);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.ready, totals.enqueued], [1, 1]);
      assert.equal((await bench.list()).length, 1);
    });

    rule('a replay shows the task as it is now', async (bench) => {
      const { task } = await use(bench, 'k');
      const grant = await bench.take({ workerId: 'w' });
      assert.deepEqual(await use(bench, 'k'), { task: grant.task, replayed: true, deduplicated: false });
      await bench.ack(held(grant), { result: json(1) });
      const replayed = await use(bench, 'k');
      assert.deepEqual(replayed, { task: await bench.get(task.id), replayed: true, deduplicated: false });
      assert.deepEqual([replayed.task.state, replayed.task.result], ['completed', '1']);
    });

    rule('the same key with another body is refused, and the task stays', async (bench) => {
      const { task } = await use(bench, 'k');
      assert.deepEqual(await bench.enqueue([bench.task(keyed('k', 'other'))]), {
        ...{ outcome: 'idempotency_key_reused', indexes: [0] },
      });
      assert.deepEqual(await bench.list(), [task]);
    });

    rule('a refused call stores nothing and uses up no key', async (bench) => {
      await use(bench, 'used');
      const outcome = await bench.enqueue([
        bench.task(),
        bench.task(keyed('new')),
        bench.task(keyed('used', 'other')),
        bench.task(keyed('used', 'yet another')),
      ]);
      assert.deepEqual(outcome, { outcome: 'idempotency_key_reused', indexes: [2, 3] });
      assert.equal((await bench.list()).length, 1);
      assert.equal(
        (await use(bench, 'new', { idempotency: { key: 'new', fingerprint: 'different' } })).replayed,
        false,
      );
    });

    rule('a refused call does not make its queue', async (bench) => {
      const tasks = [bench.task(keyed('k', 'a'), 'fresh'), bench.task(keyed('k', 'b'), 'fresh')];
      const { results } = await bench.store.enqueue([{ queue: 'fresh', tasks }]);
      assert.deepEqual(results, [{ outcome: 'idempotency_key_reused', indexes: [1] }]);
      assert.equal((await bench.store.queue('fresh')).queue, null);
    });

    rule('the other calls of the same reply are stored', async (bench) => {
      await use(bench, 'k');
      const fine = bench.task();
      const { results } = await bench.store.enqueue([
        { queue: 'q', tasks: [bench.task(keyed('k', 'other'))] },
        { queue: 'q', tasks: [fine] },
        { queue: 'r', tasks: [bench.task(keyed('k', 'other'), 'r')] },
      ]);
      assert.deepEqual(
        results.map(({ outcome }) => outcome),
        ['idempotency_key_reused', 'stored', 'stored'],
      );
      assert.equal(await bench.state(fine.id), 'ready');
    });

    rule('a key used twice in one call is a replay', async (bench) => {
      const outcome = await bench.enqueue([bench.task(keyed('k')), bench.task(), bench.task(keyed('k'))]);
      if (outcome.outcome !== 'stored') throw new Error('refused');
      const [first, , again] = outcome.tasks;
      assert.deepEqual(again, { task: first?.task, replayed: true, deduplicated: false });
      assert.equal((await bench.list()).length, 2);
    });

    rule('keys are per queue', async (bench) => {
      const a = await use(bench, 'k', {}, 'a');
      const b = await use(bench, 'k', keyed('k', 'other'), 'b');
      assert.notEqual(a.task.id, b.task.id);
      assert.equal((await use(bench, 'k', {}, 'a')).task.id, a.task.id);
    });

    rule('keys are told apart by every character', async (bench) => {
      const keys = ['k', 'K', 'k ', 'k:1', 'k*', '{k}', "k'", 'k"', 'k\\', '__proto__', '%6b', '~'.repeat(255)];
      const ids = new Set<string>();
      for (const key of keys) ids.add((await use(bench, key)).task.id);
      assert.equal(ids.size, keys.length);
      for (const key of keys) assert.ok((await use(bench, key)).replayed, key);
    });

    rule('a key is free 24 hours after its first use; replays do not prolong it', async (bench) => {
      const first = await use(bench, 'k', { delayMs: 10 * DAY_MS });
      await bench.advance(DAY_MS / 2);
      assert.equal((await use(bench, 'k')).replayed, true);
      await bench.pass(DAY_MS / 2 - 1);
      assert.equal((await use(bench, 'k')).replayed, true);
      await bench.advance(1);
      const second = await use(bench, 'k', keyed('k', 'other'));
      assert.equal(second.replayed, false);
      assert.notEqual(second.task.id, first.task.id);
      assert.equal(await bench.state(first.task.id), 'scheduled');
    });

    rule('a key that was freed by time and taken again is not freed by its first task', async (bench) => {
      const first = await use(bench, 'k');
      await bench.pass(DAY_MS);
      const second = await use(bench, 'k');
      await bench.cancel(first.task.id);
      await bench.store.remove([first.task.id]);
      assert.deepEqual(await use(bench, 'k'), { task: second.task, replayed: true, deduplicated: false });
    });

    rule(
      'after retention a replay is rebuilt from the request and what was kept; never a second task',
      async (bench) => {
        const backoff = { type: 'fixed', baseMs: 1, maxMs: 1, jitter: 0 } as const;
        const parts: Partial<NewTask> = {
          ...{ ...keyed('k'), type: 't', payload: json([1]), priority: 7, tags: ['a'], metadata: { k: 'v' } },
          ...{ maxAttempts: 9, leaseMs: 500, backoff },
        };
        const { task } = await use(bench, 'k', parts);
        const grant = await bench.take();
        await bench.heartbeat(held(grant), { progress: json(1), checkpoint: json(2) });
        await bench.nack(held(grant), { error: { code: 'x', message: null, details: null } });
        await bench.pass(100);
        await bench.ack(held(await bench.take()), { result: json(3) });
        const ended = await bench.get(task.id);
        await bench.pass(600_000);
        assert.equal(await bench.find(task.id), null);
        assert.deepEqual(await use(bench, 'k', parts), {
          task: { ...ended, progress: null, checkpoint: null, result: null, lastError: null },
          replayed: true,
          deduplicated: false,
        });
        assert.deepEqual([ended.state, ended.attempt, ended.deliveries], ['completed', 2, 2]);
        assert.equal(await bench.find(task.id), null);
        assert.deepEqual(await bench.list(), []);
        assert.equal((await bench.queue()).totals.enqueued, 1);
      },
    );

    rule('a key outlives its pruned task for the rest of its day, and no longer', async (bench) => {
      const { task } = await use(bench, 'k');
      await bench.cancel(task.id);
      await bench.pass(DAY_MS - 1);
      assert.deepEqual(await bench.enqueue([bench.task(keyed('k', 'other'))]), {
        ...{ outcome: 'idempotency_key_reused', indexes: [0] },
      });
      const replayed = await use(bench, 'k');
      assert.deepEqual([replayed.replayed, replayed.task.id, replayed.task.state], [true, task.id, 'cancelled']);
      await bench.pass(1);
      assert.equal((await use(bench, 'k', keyed('k', 'other'))).replayed, false);
    });

    rule('removing and purging a task frees its key', async (bench) => {
      const removed = await use(bench, 'removed');
      await bench.cancel(removed.task.id);
      await bench.store.remove([removed.task.id]);
      await use(bench, 'purged');
      await bench.store.purge('q', 'ready', 1000);
      for (const key of ['removed', 'purged']) {
        assert.equal((await use(bench, key, keyed(key, 'other'))).replayed, false);
      }
    });

    rule('deleting the queue frees its keys, of pruned tasks too', async (bench) => {
      const pruned = await use(bench, 'pruned');
      await bench.cancel(pruned.task.id);
      await bench.pass(600_000);
      const kept = await use(bench, 'kept');
      await bench.cancel(kept.task.id);
      while ((await bench.store.dropQueue('q')) === 'more');
      for (const key of ['pruned', 'kept']) {
        assert.equal((await use(bench, key, keyed(key, 'other'))).replayed, false);
      }
    });

    rule('a redrive keeps the key', async (bench) => {
      const { task } = await use(bench, 'k');
      await bench.cancel(task.id);
      await bench.redrive(task.id);
      const replayed = await use(bench, 'k');
      assert.deepEqual([replayed.replayed, replayed.task.id, replayed.task.state], [true, task.id, 'ready']);
    });

    rule('the same call again, key and id, is no replay of another: it is answered as stored', async (bench) => {
      const task = bench.task(keyed('k'));
      const first = await bench.enqueue([task]);
      assert.deepEqual(await bench.enqueue([task]), first);
    });

    rule('tryEnqueue tells what would be refused, and stores nothing', async (bench) => {
      await use(bench, 'k');
      const calls = [
        { queue: 'q', tasks: [bench.task(), bench.task(keyed('k', 'other'))] },
        { queue: 'q', tasks: [bench.task(keyed('k')), bench.task(keyed('new'))] },
        { queue: 'fresh', tasks: [bench.task(keyed('k', 'a'), 'fresh'), bench.task(keyed('k', 'b'), 'fresh')] },
      ];
      const { results, now } = await bench.store.tryEnqueue(calls);
      assert.deepEqual(results, [
        { outcome: 'idempotency_key_reused', indexes: [1] },
        null,
        { outcome: 'idempotency_key_reused', indexes: [1] },
      ]);
      assert.equal(now, bench.now());
      assert.equal((await bench.list()).length, 1);
      assert.equal((await bench.store.queue('fresh')).queue, null);
      assert.equal((await use(bench, 'new', keyed('new', 'other'))).replayed, false);
    });
  },
};
