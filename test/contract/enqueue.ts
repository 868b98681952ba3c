import assert from 'node:assert/strict';
import { json, only, type Theme } from './workbench.ts';

export const enqueue: Theme = {
  name: 'enqueue',
  rules(rule) {
    rule('a plain task is ready at once, with nothing but what was asked for', async (bench) => {
      const asked = bench.task();
      const reply = await bench.store.enqueue([{ queue: 'q', tasks: [asked] }]);
      const expected = {
        ...{ id: asked.id, queue: 'q', type: null, state: 'ready', priority: 4, payload: 'null', tags: [] },
        ...{ metadata: {}, attempt: 0, maxAttempts: 5, deliveries: 0, createdAt: bench.now(), runAt: bench.now() },
        ...{ expiresAt: null, finishedAt: null, lease: null, progress: null, checkpoint: null, result: null },
        ...{ lastError: null, cancelRequested: false, trace: null, groupKey: null, uniqueKey: null },
      };
      assert.deepEqual(reply.results, [
        { outcome: 'stored', tasks: [{ task: expected, replayed: false, deduplicated: false }] },
      ]);
      assert.equal(reply.now, bench.now());
      assert.deepEqual(await bench.get(asked.id), expected);
    });

    rule('everything that was asked for comes back', async (bench) => {
      const task = await bench.put({
        ...{ type: 'welcome', payload: json({ to: 'a@example.org' }), priority: 9, delayMs: 1500, ttlMs: 90_000 },
        ...{ leaseMs: 2000, maxAttempts: 7, tags: ['eu', 'eu', 'ß'], metadata: { k: 'v', '': '' } },
        backoff: { type: 'linear', baseMs: 5, maxMs: 50, jitter: 0.5 },
        trace: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate: 'a=b' },
        unique: { key: 'k', until: 'started', ttlMs: null, onConflict: 'reject' },
        groupKey: 'g',
      });
      assert.deepEqual(await bench.get(task.id), task);
      assert.deepEqual(task, {
        ...{ id: task.id, queue: 'q', type: 'welcome', state: 'scheduled', priority: 9 },
        ...{ payload: '{"to":"a@example.org"}', tags: ['eu', 'eu', 'ß'], metadata: { k: 'v', '': '' } },
        ...{ attempt: 0, maxAttempts: 7, deliveries: 0, createdAt: bench.now(), runAt: bench.now() + 1500 },
        ...{ expiresAt: bench.now() + 90_000, finishedAt: null, lease: null, progress: null, checkpoint: null },
        ...{ result: null, lastError: null, cancelRequested: false, uniqueKey: 'k', groupKey: 'g' },
        trace: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate: 'a=b' },
      });
    });

    rule('a trace without a tracestate stays so', async (bench) => {
      const trace = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00', tracestate: null };
      assert.deepEqual((await bench.put({ trace })).trace, trace);
    });

    rule('a time ahead schedules; a delay of nothing, now or the past does not', async (bench) => {
      const now = bench.now();
      const tasks = await bench.putAll([
        { delayMs: 1 },
        { runAt: now + 1 },
        { delayMs: 0 },
        { runAt: now },
        { runAt: now - 1000 },
        // The first day of the year 1, which some languages have for no time at all.
        { runAt: -62_135_596_800_000 },
      ]);
      assert.deepEqual(
        tasks.map(({ state, runAt }) => [state, runAt - now]),
        [
          ['scheduled', 1],
          ['scheduled', 1],
          ['ready', 0],
          ['ready', 0],
          ['ready', 0],
          ['ready', 0],
        ],
      );
    });

    rule('a year ahead is kept to the millisecond', async (bench) => {
      const delayMs = 366 * 86_400_000 - 1;
      const task = await bench.put({ delayMs, ttlMs: delayMs });
      assert.equal(task.runAt, bench.now() + delayMs);
      assert.equal(task.expiresAt, bench.now() + delayMs);
      assert.deepEqual(await bench.get(task.id), task);
    });

    rule('the reply says no later than it is when the first of its tasks falls due', async (bench) => {
      const { dueAt } = await bench.store.enqueue([
        { queue: 'q', tasks: [bench.task(), bench.task({ delayMs: 5000 })] },
        { queue: 'r', tasks: [bench.task({ delayMs: 3000 }, 'r')] },
      ]);
      assert.ok(dueAt !== null && dueAt <= bench.now() + 3000, `due at ${dueAt}`);
      const ttl = await bench.store.enqueue([{ queue: 's', tasks: [bench.task({ ttlMs: 700 }, 's')] }]);
      assert.ok(ttl.dueAt !== null && ttl.dueAt <= bench.now() + 700, `due at ${ttl.dueAt}`);
    });

    rule('a thousand tasks are stored by one call, in order', async (bench) => {
      const stored = await bench.putAll(Array.from({ length: 1000 }, (_, number) => ({ payload: json(number) })));
      const listed = await bench.list();
      assert.deepEqual(
        listed.map(({ payload }) => Number(payload)),
        Array.from({ length: 1000 }, (_, number) => number),
      );
      assert.deepEqual(
        listed.map(({ id }) => id),
        stored.map(({ id }) => id),
      );
      assert.deepEqual((await bench.drain()).length, 1000);
    });

    rule('calls are answered in their order, whatever their queues', async (bench) => {
      const calls = ['a', 'b', 'a', 'c', 'b'].map((queue, number) => ({
        queue,
        tasks: [0, 1].map((part) => bench.task({ payload: json([number, part]) }, queue)),
      }));
      const { results } = await bench.store.enqueue(calls);
      assert.deepEqual(
        results.map((outcome) => outcome.outcome === 'stored' && outcome.tasks.map(({ task }) => task.id)),
        calls.map(({ tasks }) => tasks.map(({ id }) => id)),
      );
      assert.deepEqual(
        (await bench.list({ queue: 'b' })).map(({ payload }) => payload),
        ['[1,0]', '[1,1]', '[4,0]', '[4,1]'],
      );
    });

    rule('the same call again stores nothing and is answered with the tasks as they are', async (bench) => {
      const tasks = [bench.task({ payload: json(1) }), bench.task({ delayMs: 1000 })];
      await bench.enqueue(tasks);
      assert.equal(tasks.length, (await bench.list()).length);
      const [grant] = await bench.lease();
      const again = await bench.enqueue(tasks);
      assert.deepEqual(again, {
        outcome: 'stored',
        tasks: [
          { task: grant?.task, replayed: false, deduplicated: false },
          { task: await bench.get(tasks[1]?.id ?? ''), replayed: false, deduplicated: false },
        ],
      });
      assert.equal((await bench.list()).length, 2);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.leased, counts.scheduled, counts.ready, totals.enqueued], [1, 1, 0, 2]);
    });

    rule('an id that is stored already does not keep the rest of its call from being stored', async (bench) => {
      const first = bench.task({ payload: json('first') });
      await bench.enqueue([first]);
      const second = bench.task({ payload: json('second') });
      await bench.enqueue([{ ...first, payload: json('changed') }, second]);
      assert.deepEqual(
        (await bench.list()).map(({ payload }) => payload),
        ['"first"', '"second"'],
      );
    });

    rule('one id twice in a call is one task', async (bench) => {
      const asked = bench.task();
      const outcome = await bench.enqueue([asked, asked]);
      assert.equal(outcome.outcome === 'stored' && outcome.tasks.length, 2);
      assert.deepEqual([(await bench.list()).length, (await bench.queue()).totals.enqueued], [1, 1]);
    });

    rule('ids are URL-safe, short, unlike each other, and sort by creation within a queue', async (bench) => {
      const ids: string[] = [];
      for (let count = 0; count < 300; count++) {
        ids.push(bench.store.newTaskId('q'));
        if (count % 100 === 99) await bench.advance(1);
      }
      for (const id of ids) assert.match(id, /^[A-Za-z0-9._~-]{1,40}$/);
      assert.equal(new Set(ids).size, ids.length);
      assert.deepEqual([...ids].sort(), ids);
    });

    rule('a queue that could not be a plain key is an ordinary queue', async (bench) => {
      for (const queue of ['0', 'constructor', 'a:b:c', 'a.b', 'A', 'a', `x${'y'.repeat(127)}`]) {
        const task = await bench.put({}, queue);
        assert.equal(task.queue, queue);
        assert.equal(only(await bench.lease({}, queue)).task.id, task.id);
        assert.equal((await bench.queue(queue)).totals.enqueued, 1);
      }
    });
  },
};
