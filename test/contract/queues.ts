import assert from 'node:assert/strict';
import { DEFAULT_QUEUE_CONFIG, type QueueSettings } from '../../src/domain/queue.ts';
import type { TaskState } from '../../src/domain/task.ts';
import type { QueueRecord } from '../../src/store/store.ts';
import { held, type Theme, type Workbench } from './workbench.ts';

/** Pages through all queues. */
async function allQueues(bench: Workbench, limit: number): Promise<QueueRecord[]> {
  const found: QueueRecord[] = [];
  for (let after: string | null = null; ; ) {
    const page = await bench.store.queues({ after, limit });
    assert.ok(page.queues.length <= limit);
    found.push(...page.queues);
    if (page.next === null) return found;
    after = page.next;
  }
}

export const queues: Theme = {
  name: 'queues',
  rules(rule) {
    rule('a queue is made by its first task, with the defaults', async (bench) => {
      assert.deepEqual(await bench.store.queue('q'), { now: bench.now(), queue: null });
      await bench.put();
      await bench.advance(10);
      assert.deepEqual(await bench.store.queue('q'), {
        now: bench.now(),
        queue: {
          ...{ name: 'q', paused: false, createdAt: bench.now() - 10, settings: {}, config: DEFAULT_QUEUE_CONFIG },
          counts: { scheduled: 0, ready: 1, blocked: 0, leased: 0, completed: 0, dead: 0, cancelled: 0, expired: 0 },
          totals: { enqueued: 1, leased: 0, acked: 0, nacked: 0, released: 0, expired: 0, dead: 0 },
          ...{ oldestReadyAt: bench.now() - 10, nextRunAt: null, rateOpensAt: null, blockedByLease: false },
        },
      });
    });

    rule('configuring makes a queue, and the first task does not make it again', async (bench) => {
      const outcome = await bench.store.configure('q', { leaseMs: 5 }, 'replace');
      assert.deepEqual([outcome.created, outcome.now, outcome.queue.createdAt], [true, bench.now(), bench.now()]);
      await bench.advance(10);
      await bench.put();
      const { createdAt, settings } = await bench.queue();
      assert.deepEqual([createdAt, settings], [bench.now() - 10, { leaseMs: 5 }]);
      assert.equal((await bench.store.configure('q', {}, 'merge')).created, false);
    });

    rule('merging changes what is named, replacing returns the rest to the defaults', async (bench) => {
      const full: QueueSettings = {
        ...{ leaseMs: 1, maxAttempts: 2, backoff: { type: 'linear', baseMs: 3 } },
        retention: { completedMs: 4, completedMax: 5 },
      };
      await bench.store.configure('q', full, 'replace');
      const merged = await bench.store.configure(
        'q',
        { maxAttempts: 7, backoff: { jitter: 0 }, retention: { completedMax: 9, deadMs: 10 } },
        'merge',
      );
      const settings = {
        ...{ leaseMs: 1, maxAttempts: 7, backoff: { type: 'linear', baseMs: 3, jitter: 0 } },
        retention: { completedMs: 4, completedMax: 9, deadMs: 10 },
      };
      assert.deepEqual(merged.queue.settings, settings);
      assert.deepEqual(merged.queue.config, {
        ...DEFAULT_QUEUE_CONFIG,
        ...settings,
        backoff: { type: 'linear', baseMs: 3, maxMs: 3_600_000, jitter: 0 },
      });
      assert.deepEqual((await bench.queue()).settings, settings);
      const replaced = await bench.store.configure('q', { backoff: { type: 'fixed' } }, 'replace');
      assert.deepEqual(replaced.queue.settings, { backoff: { type: 'fixed' } });
      assert.deepEqual(replaced.queue.config, {
        ...DEFAULT_QUEUE_CONFIG,
        backoff: { ...DEFAULT_QUEUE_CONFIG.backoff, type: 'fixed' },
      });
    });

    rule('a changed configuration keeps tasks, counts and pause', async (bench) => {
      await bench.put();
      await bench.store.setPaused('q', true);
      const { queue } = await bench.store.configure('q', { leaseMs: 500 }, 'replace');
      assert.deepEqual([queue.paused, queue.counts.ready, queue.totals.enqueued], [true, 1, 1]);
    });

    rule('pausing an unknown queue makes none', async (bench) => {
      assert.equal(await bench.store.setPaused('none', true), false);
      assert.equal((await bench.store.queue('none')).queue, null);
      await bench.put();
      assert.equal(await bench.store.setPaused('q', true), true);
      assert.equal(await bench.store.setPaused('q', true), true);
      assert.equal((await bench.queue()).paused, true);
      assert.equal(await bench.store.setPaused('q', false), true);
      assert.equal((await bench.queue()).paused, false);
    });

    rule('queues are listed in byte order of their names, by pages', async (bench) => {
      const names = ['b', 'a', 'B', 'a-1', 'a.1', 'a:1', 'a_1', 'a1', '0', 'aa', 'Z', 'z'];
      for (const name of names) await bench.put({}, name);
      const sorted = [...names].sort();
      for (const limit of [1, 5, 12, 100]) {
        const found = await allQueues(bench, limit);
        assert.deepEqual(
          found.map(({ name }) => name),
          sorted,
        );
      }
      const page = await bench.store.queues({ after: 'a.5', limit: 3 });
      assert.deepEqual(
        page.queues.map(({ name }) => name),
        ['a1', 'a:1', 'a_1'],
      );
      assert.deepEqual(page.queues[0], await bench.queue('a1'));
    });

    rule('a store without queues lists none', async (bench) => {
      assert.deepEqual(await bench.store.queues({ after: null, limit: 10 }), {
        ...{ now: bench.now(), queues: [], next: null },
      });
    });

    rule('since when a task has been ready: the earliest of the heads of all lines', async (bench) => {
      assert.equal((await bench.store.configure('q', {}, 'merge')).queue.oldestReadyAt, null);
      const start = bench.now();
      await bench.put({ priority: 9 });
      await bench.advance(10);
      await bench.put({ priority: 1 });
      await bench.put({ priority: 9 });
      assert.equal((await bench.queue()).oldestReadyAt, start);
      const first = await bench.take();
      assert.equal((await bench.queue()).oldestReadyAt, start + 10);
      await bench.advance(10);
      await bench.nack(held(first), { delayMs: 0 });
      assert.equal((await bench.queue()).oldestReadyAt, start + 10);
      await bench.drain();
      assert.equal((await bench.queue()).oldestReadyAt, null);
    });

    rule('what is cancelled is not at the head of a line', async (bench) => {
      const [first] = await bench.putAll([{}, {}]);
      await bench.advance(10);
      await bench.put();
      assert.ok(first);
      const tasks = await bench.list();
      for (const { id } of tasks.slice(0, 2)) await bench.cancel(id);
      assert.equal((await bench.queue()).oldestReadyAt, bench.now());
      await bench.cancel(tasks[2]?.id ?? '');
      assert.equal((await bench.queue()).oldestReadyAt, null);
    });

    rule('when the next scheduled task is due', async (bench) => {
      await bench.put({ delayMs: 5000 });
      const sooner = await bench.put({ delayMs: 3000 });
      assert.equal((await bench.queue()).nextRunAt, bench.now() + 3000);
      await bench.cancel(sooner.id);
      assert.equal((await bench.queue()).nextRunAt, bench.now() + 5000);
      await bench.pass(5000);
      assert.equal((await bench.queue()).nextRunAt, null);
    });

    rule('purging deletes the tasks of one state, whatever it is', async (bench) => {
      const ids = await bench.oneOfEach();
      for (const [state, id] of Object.entries(ids)) {
        assert.deepEqual(await bench.store.purge('q', state as TaskState, 1000), { purged: 1 });
        assert.equal(await bench.find(id), null, state);
      }
      assert.deepEqual(await bench.store.purge('q', 'blocked', 1000), { purged: 0 });
      assert.deepEqual(await bench.store.purge('none', 'ready', 1000), { purged: 0 });
      assert.equal((await bench.store.queue('none')).queue, null);
      const { counts, oldestReadyAt, nextRunAt } = await bench.queue();
      assert.deepEqual(new Set(Object.values(counts)), new Set([0]));
      assert.deepEqual([oldestReadyAt, nextRunAt], [null, null]);
      assert.deepEqual(await bench.drain(), []);
      const swept = await bench.pass(1_000_000);
      assert.deepEqual([swept.promoted, swept.reclaimed, swept.expired, swept.pruned], [0, 0, 0, 0]);
    });

    rule('purging takes no more than its limit, of finished tasks the oldest', async (bench) => {
      const tasks = await bench.putAll([{ priority: 0 }, { priority: 9 }, {}, {}, { delayMs: 9 }, { delayMs: 5 }]);
      assert.deepEqual(await bench.store.purge('q', 'ready', 2), { purged: 2 });
      assert.deepEqual(await bench.store.purge('q', 'scheduled', 1), { purged: 1 });
      assert.deepEqual(await bench.store.purge('q', 'scheduled', 1), { purged: 1 });
      assert.deepEqual(await bench.store.purge('q', 'scheduled', 1), { purged: 0 });
      const left = (await bench.list()).map(({ id }) => id);
      assert.equal(left.length, 2);
      assert.ok(left.every((id) => tasks.slice(0, 4).some((task) => task.id === id)));
      const [kept = '', oldest = ''] = left;
      for (const id of [oldest, kept]) {
        await bench.cancel(id);
        await bench.advance(1);
      }
      assert.deepEqual(await bench.store.purge('q', 'cancelled', 1), { purged: 1 });
      assert.deepEqual([await bench.state(oldest), await bench.state(kept)], [null, 'cancelled']);
    });

    rule('a queue with waiting, leased or dead tasks is not deleted', async (bench) => {
      assert.equal(await bench.store.dropQueue('none'), 'not_found');
      const ids = await bench.oneOfEach();
      for (const state of ['scheduled', 'ready', 'leased', 'dead'] as const) {
        assert.equal(await bench.store.dropQueue('q'), 'not_empty');
        await bench.store.purge('q', state, 1000);
      }
      assert.equal(await bench.state(ids.completed), 'completed');
      let answer = await bench.store.dropQueue('q');
      while (answer === 'more') answer = await bench.store.dropQueue('q');
      assert.equal(answer, 'deleted');
      assert.equal((await bench.store.queue('q')).queue, null);
      for (const id of Object.values(ids)) assert.equal(await bench.find(id), null);
      assert.deepEqual(await bench.list(), []);
      assert.deepEqual((await bench.store.queues({ after: null, limit: 10 })).queues, []);
      assert.equal(await bench.store.dropQueue('q'), 'not_found');
      const swept = await bench.pass(1_000_000);
      assert.deepEqual([swept.promoted, swept.reclaimed, swept.expired, swept.pruned], [0, 0, 0, 0]);
    });

    rule('an empty queue is deleted, and comes back as a new one', async (bench) => {
      await bench.store.configure('q', { leaseMs: 500 }, 'replace');
      await bench.put();
      await bench.store.setPaused('q', true);
      await bench.store.purge('q', 'ready', 1000);
      assert.equal(await bench.store.dropQueue('q'), 'deleted');
      await bench.advance(10);
      await bench.put();
      const { settings, paused, createdAt, totals } = await bench.queue();
      assert.deepEqual([settings, paused, createdAt, totals.enqueued], [{}, false, bench.now(), 1]);
      assert.equal((await bench.lease()).length, 1);
    });

    rule('work that comes in between the steps of its deletion keeps a queue as it is', async (bench) => {
      await bench.store.configure('q', { leaseMs: 500 }, 'replace');
      const done = await bench.putAll(Array.from({ length: 300 }, () => ({})));
      await bench.store.cancel(done.map(({ id }) => ({ id, reason: null, force: false })));
      assert.equal(await bench.store.dropQueue('q'), 'more');
      const { id } = await bench.put();
      const before = await bench.queue();
      assert.equal(await bench.store.dropQueue('q'), 'not_empty');
      assert.deepEqual(await bench.queue(), before);
      assert.deepEqual(before.settings, { leaseMs: 500 });
      assert.equal((await bench.take()).task.id, id);
    });

    rule('a queue with thousands of finished tasks is deleted in steps', async (bench) => {
      for (let round = 0; round < 3; round++) {
        const tasks = await bench.putAll(Array.from({ length: 1000 }, () => ({})));
        await bench.store.cancel(tasks.map(({ id }) => ({ id, reason: null, force: false })));
      }
      let steps = 0;
      for (let answer = 'more'; answer === 'more'; steps++) answer = await bench.store.dropQueue('q');
      assert.ok(steps < 100, `${steps} steps`);
      assert.equal((await bench.store.queue('q')).queue, null);
      assert.deepEqual(await bench.list(), []);
    });
  },
};
