import assert from 'node:assert/strict';
import { json, leaseOf, type Theme } from './workbench.ts';

export const lease: Theme = {
  name: 'lease',
  rules(rule) {
    rule('a grant counts an attempt and a delivery and carries token, worker and deadline', async (bench) => {
      const stored = await bench.put({ payload: json([1]) });
      await bench.advance(500);
      const [grant] = await bench.lease({ leaseMs: 4000, workerId: 'w-1', token: 'secret' });
      assert.deepEqual(grant, {
        token: 'secret',
        task: {
          ...stored,
          ...{ state: 'leased', attempt: 1, deliveries: 1 },
          lease: { workerId: 'w-1', expiresAt: bench.now() + 4000 },
        },
      });
      assert.deepEqual(await bench.get(stored.id), grant?.task);
    });

    rule('a worker without a name is null', async (bench) => {
      await bench.put();
      assert.equal((await bench.take()).task.lease?.workerId, null);
    });

    rule('the length of a lease is that of the call, else of the task, else of the queue', async (bench) => {
      const remaining = async (leaseMs?: number): Promise<number> => {
        const { task } = await bench.take(leaseMs === undefined ? {} : { leaseMs });
        return (task.lease?.expiresAt ?? 0) - bench.now();
      };
      await bench.putAll([{}, { leaseMs: 2000 }, { leaseMs: 2000 }, {}, {}]);
      assert.equal(await remaining(), 30_000);
      assert.equal(await remaining(), 2000);
      assert.equal(await remaining(100), 100);
      assert.equal(await remaining(43_200_000), 43_200_000);
      await bench.store.configure('q', { leaseMs: 700 }, 'merge');
      assert.equal(await remaining(), 700);
    });

    rule('a queue that does not exist is an empty one, and is not made by it', async (bench) => {
      assert.deepEqual(await bench.lease({}, 'none'), []);
      assert.equal((await bench.store.queue('none')).queue, null);
    });

    rule('a paused queue grants nothing until it is resumed; all else goes on', async (bench) => {
      const held = await bench.putAndTake();
      await bench.store.setPaused('q', true);
      await bench.put();
      assert.deepEqual(await bench.lease({ max: 10 }), []);
      assert.equal((await bench.heartbeat(held)).outcome, 'settled');
      assert.equal((await bench.ack(held)).outcome, 'settled');
      await bench.store.setPaused('q', false);
      assert.equal((await bench.lease({ max: 10 })).length, 1);
    });

    rule('no more than max are granted, and no fewer while there are tasks', async (bench) => {
      await bench.putAll(Array.from({ length: 120 }, () => ({})));
      assert.equal((await bench.lease({ max: 7 })).length, 7);
      assert.equal((await bench.lease({ max: 100 })).length, 100);
      assert.equal((await bench.lease({ max: 100 })).length, 13);
      assert.deepEqual(await bench.lease({ max: 100 }), []);
    });

    rule('calls for several queues are answered in their order, each from its own queue', async (bench) => {
      const a = await bench.put({}, 'a');
      const c = await bench.put({}, 'c');
      const { results, now } = await bench.store.lease(
        ['c', 'b', 'a'].map((queue) => leaseOf({ token: `t-${queue}`, max: 5 }, queue)),
      );
      assert.deepEqual(
        results.map((grants) => grants.map(({ task, token }) => [task.id, token])),
        [[[c.id, 't-c']], [], [[a.id, 't-a']]],
      );
      assert.equal(now, bench.now());
    });

    rule('calls for one queue are served one after the other', async (bench) => {
      const tasks = await bench.putAll([{}, {}, {}, {}, {}]);
      const { results } = await bench.store.lease([2, 1, 4].map((max) => leaseOf({ max })));
      const ids = tasks.map(({ id }) => id);
      assert.deepEqual(
        results.map((grants) => grants.map(({ task }) => task.id)),
        [ids.slice(0, 2), ids.slice(2, 3), ids.slice(3)],
      );
    });

    rule('the reply says no later than it is when the first of its leases runs out', async (bench) => {
      await bench.putAll([{}, { leaseMs: 2500 }]);
      const { dueAt } = await bench.store.lease([leaseOf({ max: 2 })]);
      assert.ok(dueAt !== null && dueAt <= bench.now() + 2500, `due at ${dueAt}`);
    });

    rule('deliveries are the fence: they grow with every grant and are never reset', async (bench) => {
      const { id } = await bench.put();
      const fences: number[] = [];
      for (const end of ['release', 'expiry', 'nack', 'dead', 'none'] as const) {
        const { task, token } = await bench.take({ leaseMs: 100 });
        fences.push(task.deliveries);
        if (end === 'release') await bench.release({ id, token });
        if (end === 'expiry') await bench.pass(100);
        if (end === 'nack') await bench.nack({ id, token }, { delayMs: 0 });
        if (end === 'dead') {
          await bench.nack({ id, token }, { retryable: false });
          await bench.redrive(id);
        }
      }
      assert.deepEqual(fences, [1, 2, 3, 4, 5]);
      assert.equal((await bench.get(id)).attempt, 1);
    });

    rule('a task that is leased is not granted to another', async (bench) => {
      await bench.putAndTake();
      assert.deepEqual(await bench.lease({ max: 100 }), []);
    });
  },
};
