import assert from 'node:assert/strict';
import type { NewTask } from '../../src/domain/task.ts';
import { held, only, type Theme, type Workbench } from './workbench.ts';

/** A queue with a limit. */
async function limited(bench: Workbench, maxBacklog: number): Promise<void> {
  await bench.store.configure('q', { maxBacklog }, 'merge');
}

/** What becomes of tasks that are posted in one call. */
async function post(bench: Workbench, ...parts: Partial<NewTask>[]): Promise<string> {
  const outcome = await bench.enqueue(parts.map((part) => bench.task(part)));
  return outcome.outcome === 'stored' ? 'stored' : `${outcome.outcome} ${outcome.indexes.join(' ')}`;
}

const keyed = (key: string): Partial<NewTask> => ({ idempotency: { key, fingerprint: 'f' } });

const unique = (
  key: string,
  onConflict: 'return' | 'replace' = 'return',
  until: 'finished' | 'ttl' = 'finished',
): Partial<NewTask> => ({ unique: { key, until, ttlMs: until === 'ttl' ? 60_000 : null, onConflict } });

export const backlog: Theme = {
  name: 'the limit of the backlog',
  rules(rule) {
    rule('a queue without one takes what comes, and shows that it has none', async (bench) => {
      await bench.putAll(Array.from({ length: 1000 }, () => ({})));
      assert.equal((await bench.queue()).config.maxBacklog, null);
      await limited(bench, 5);
      const { settings, config } = await bench.queue();
      assert.deepEqual([settings, config.maxBacklog], [{ maxBacklog: 5 }, 5]);
    });

    rule('whatever has not ended counts, and room is made by whatever ends', async (bench) => {
      await bench.putAndTake();
      await bench.put({ delayMs: 1000 });
      const ready = await bench.put();
      await limited(bench, 3);
      assert.equal(await post(bench, {}), 'queue_full 0');
      await bench.cancel(ready.id);
      assert.equal(await post(bench, {}), 'stored');
      assert.equal(await post(bench, {}), 'queue_full 0');
      await bench.ack(held(await bench.take()));
      assert.equal(await post(bench, { delayMs: 5 }), 'stored');
      assert.equal(await post(bench, { delayMs: 5 }), 'queue_full 0');
      await bench.store.purge('q', 'scheduled', 10);
      assert.equal(await post(bench, {}, {}), 'stored');
    });

    rule('a call is stored whole or not at all, and the first that does not fit is named', async (bench) => {
      await limited(bench, 3);
      assert.equal(await post(bench, {}, {}), 'stored');
      assert.equal(await post(bench, {}, {}), 'queue_full 1');
      assert.equal((await bench.queue()).counts.ready, 2);
      assert.equal(await post(bench, {}), 'stored');
    });

    rule('a task that is named twice counts once', async (bench) => {
      await limited(bench, 1);
      const task = bench.task();
      const outcome = await bench.enqueue([task, task]);
      assert.equal(outcome.outcome === 'stored' && outcome.tasks.length, 2);
      assert.equal(await post(bench, {}), 'queue_full 0');
    });

    rule('a limit of nothing closes the queue, and one that is lifted opens it at once', async (bench) => {
      await limited(bench, 0);
      assert.equal(await post(bench, {}), 'queue_full 0');
      await bench.store.configure('q', {}, 'replace');
      assert.equal(await post(bench, {}), 'stored');
    });

    rule('a limit below what is there refuses more, and takes nothing away', async (bench) => {
      await bench.putAll([{}, {}, {}]);
      await limited(bench, 1);
      assert.equal(await post(bench, {}), 'queue_full 0');
      assert.equal((await bench.drain()).length, 3);
    });

    rule('what nack, release, expiry and redrive bring back is not refused', async (bench) => {
      const dead = await bench.putAndTake();
      await bench.nack(dead, { retryable: false });
      await bench.put();
      await limited(bench, 1);
      assert.equal((await bench.redrive(dead.id)).state, 'ready');
      const grant = await bench.take();
      assert.equal((await bench.release(held(grant))).outcome, 'settled');
      assert.equal(await post(bench, {}), 'queue_full 0');
    });

    rule('a repeated idempotency key is answered even then, and what is refused uses none up', async (bench) => {
      await limited(bench, 1);
      assert.equal(await post(bench, keyed('k')), 'stored');
      assert.equal(await post(bench, keyed('k')), 'stored');
      assert.equal(await post(bench, keyed('k'), keyed('l')), 'queue_full 1');
      await bench.drain();
      await bench.store.purge('q', 'leased', 10);
      assert.equal(await post(bench, { idempotency: { key: 'l', fingerprint: 'another' } }), 'stored');
    });

    rule('a call that is made again is answered even then', async (bench) => {
      await limited(bench, 1);
      const tasks = [bench.task()];
      const first = await bench.enqueue(tasks);
      assert.deepEqual(await bench.enqueue(tasks), first);
    });

    rule('so are a task whose unique key is held, and one that takes the place of another', async (bench) => {
      await limited(bench, 1);
      assert.equal(await post(bench, unique('k')), 'stored');
      assert.equal(await post(bench, unique('k')), 'stored');
      assert.equal(await post(bench, unique('k', 'replace')), 'stored');
      assert.equal(await post(bench, unique('l')), 'queue_full 0');
      await limited(bench, 0);
      assert.equal(await post(bench, unique('k', 'replace'), unique('k', 'replace')), 'stored');
      assert.deepEqual((await bench.queue()).counts.ready, 1);
    });

    rule('taking a key from a task that has ended needs room', async (bench) => {
      const { id } = await bench.put(unique('k', 'return', 'ttl'));
      await bench.cancel(id);
      await limited(bench, 0);
      assert.equal(await post(bench, unique('k', 'replace', 'ttl')), 'queue_full 0');
    });

    rule('a holder whose time is over makes room for the next', async (bench) => {
      await bench.put({ ttlMs: 100, ...unique('k') });
      await limited(bench, 1);
      await bench.advance(100);
      assert.equal(await post(bench, {}), 'queue_full 0');
      assert.equal(await post(bench, unique('k')), 'stored');
    });

    rule('what would be refused is known before, without storing anything', async (bench) => {
      await limited(bench, 1);
      const call = (queue: string, tasks: number) => ({
        queue,
        tasks: Array.from({ length: tasks }, () => bench.task({}, queue)),
      });
      const { results } = await bench.store.tryEnqueue([call('q', 1), call('q', 2), call('none', 1000)]);
      assert.deepEqual(results, [null, { outcome: 'queue_full', indexes: [1] }, null]);
      assert.equal(only(await bench.list({ limit: 10 }).then((tasks) => [tasks.length])), 0);
    });
  },
};
