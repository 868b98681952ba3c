import assert from 'node:assert/strict';
import { ackOf, held, heartbeatOf, json, nackOf, releaseOf, type Theme } from './workbench.ts';

export const batches: Theme = {
  name: 'batches',
  rules(rule) {
    rule('a thousand settles are answered in their order, each on its own', async (bench) => {
      await bench.putAll(Array.from({ length: 1000 }, (_, number) => ({ payload: json(number) })));
      const claims = [];
      for (let count = 0; count < 10; count++) claims.push(...(await bench.lease({ max: 100 })).map(held));
      const items = claims.map((claim, index) => {
        if (index % 5 === 0) return ackOf(claim, { result: json(index) });
        if (index % 5 === 1) return nackOf(claim, { delayMs: index });
        if (index % 5 === 2) return releaseOf(claim);
        if (index % 5 === 3) return heartbeatOf(claim, { progress: json(index) });
        return ackOf({ id: claim.id, token: 'foreign' });
      });
      const { results, now } = await bench.store.settle(items);
      assert.equal(now, bench.now());
      const states = ['completed', 'scheduled', 'ready', 'leased', 'lease_lost'];
      assert.deepEqual(
        results.map((outcome) => (outcome.outcome === 'settled' ? outcome.state : outcome.code)),
        claims.map((_, index) => states[index % 5]),
      );
      const { counts } = await bench.queue();
      assert.deepEqual([counts.completed, counts.scheduled, counts.ready, counts.leased], [200, 200, 200, 400]);
    });

    rule('tasks of several queues are settled by one call', async (bench) => {
      const claims = [];
      for (const queue of ['a', 'b', 'c', 'd', 'e', 'a']) claims.push(await bench.putAndTake({}, queue));
      const { results } = await bench.store.settle(claims.map((claim) => ackOf(claim)));
      assert.deepEqual(
        results.map((outcome) => outcome.outcome === 'settled' && outcome.queue),
        ['a', 'b', 'c', 'd', 'e', 'a'],
      );
    });

    rule('items of one call apply in order', async (bench) => {
      const claim = await bench.putAndTake();
      const { results } = await bench.store.settle([
        heartbeatOf(claim, { checkpoint: json(1) }),
        heartbeatOf(claim, { checkpoint: json(2), leaseMs: 700 }),
        nackOf(claim, { delayMs: 0 }),
        heartbeatOf(claim, { checkpoint: json(3) }),
      ]);
      assert.deepEqual(
        results.map((outcome) => (outcome.outcome === 'settled' ? outcome.leaseExpiresAt : outcome.code)),
        [bench.now() + 30_000, bench.now() + 700, null, 'already_settled'],
      );
      assert.equal((await bench.get(claim.id)).checkpoint, '2');
    });

    rule('one refusal does not keep the rest from being done', async (bench) => {
      const [a, b] = [await bench.put(), await bench.put()];
      const unknown = bench.store.newTaskId('q');
      const { results } = await bench.store.cancel(
        [unknown, a.id, 'never', b.id].map((id) => ({ id, reason: null, force: false })),
      );
      assert.deepEqual(
        results.map((outcome) => (outcome.outcome === 'refused' ? outcome.code : outcome.outcome)),
        ['task_not_found', 'cancelled', 'task_not_found', 'cancelled'],
      );
    });

    rule('reads, redrives and removals are answered in their order', async (bench) => {
      const ids = await bench.oneOfEach();
      const other = await bench.put({}, 'other');
      const asked = [ids.dead, 'never', other.id, ids.completed, ids.dead];
      const { results: found } = await bench.store.get(asked);
      assert.deepEqual(
        found.map((task) => task?.id ?? null),
        [ids.dead, null, other.id, ids.completed, ids.dead],
      );
      const { results: redriven } = await bench.store.redrive(asked);
      assert.deepEqual(
        redriven.map((outcome) => (outcome.outcome === 'refused' ? outcome.code : outcome.task.state)),
        ['ready', 'task_not_found', 'not_redrivable', 'not_redrivable', 'not_redrivable'],
      );
      const { results: removed } = await bench.store.remove([ids.completed, ids.leased, ids.completed]);
      assert.deepEqual(
        removed.map((outcome) => (outcome.outcome === 'refused' ? outcome.code : outcome.outcome)),
        ['removed', 'task_active', 'task_not_found'],
      );
    });

    rule('a call without items is answered without results', async (bench) => {
      const { store } = bench;
      for (const reply of [
        await store.enqueue([]),
        await store.lease([]),
        await store.settle([]),
        await store.cancel([]),
        await store.redrive([]),
        await store.remove([]),
        await store.get([]),
        await store.tryEnqueue([]),
      ]) {
        assert.deepEqual(reply.results, []);
      }
    });
  },
};
