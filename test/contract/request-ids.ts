import assert from 'node:assert/strict';
import { held, json, leaseOf, type Theme } from './workbench.ts';

export const requestIds: Theme = {
  name: 'request ids of lease calls',
  rules(rule) {
    rule('a call with the id of an earlier one answers its leases again, and grants nothing new', async (bench) => {
      await bench.putAll([{}, {}, {}]);
      const first = await bench.lease({ max: 2, requestId: 'r', workerId: 'w', token: 'first' });
      await bench.advance(500);
      const again = await bench.lease({ max: 3, requestId: 'r', workerId: 'other', token: 'second', leaseMs: 100 });
      assert.equal(first.length, 2);
      assert.deepEqual(again, first);
      const { counts, totals } = await bench.queue();
      assert.deepEqual([counts.ready, counts.leased, totals.leased], [1, 2, 2]);
    });

    rule('what is answered again is the task as it is now', async (bench) => {
      const { id } = await bench.put();
      const [first] = await bench.lease({ requestId: 'r' });
      assert.ok(first);
      await bench.advance(10);
      await bench.heartbeat(held(first), { progress: json(1), checkpoint: json(2) });
      assert.deepEqual(await bench.lease({ requestId: 'r' }), [{ task: await bench.get(id), token: first.token }]);
    });

    rule('recall answers the same and never grants', async (bench) => {
      await bench.putAll([{}, {}]);
      assert.deepEqual(await bench.recall('r'), []);
      const grants = await bench.lease({ requestId: 'r' });
      assert.deepEqual(await bench.recall('r'), grants);
      assert.deepEqual(await bench.recall('s'), []);
      const { results, now } = await bench.store.recall([
        { queue: 'q', requestId: 's' },
        { queue: 'none', requestId: 'r' },
        { queue: 'q', requestId: 'r' },
      ]);
      assert.deepEqual(results, [[], [], grants]);
      assert.equal(now, bench.now());
      assert.equal((await bench.queue()).totals.leased, 1);
      assert.equal((await bench.store.queue('none')).queue, null);
      assert.deepEqual((await bench.store.recall([])).results, []);
    });

    rule('leases that are disowned are found no more, and a call with their id is a new one', async (bench) => {
      await bench.putAll([{}, {}]);
      const [first] = await bench.lease({ requestId: 'r', token: 'first' });
      await bench.recall('r');
      assert.equal(await bench.disown('r', 'first'), true);
      assert.deepEqual(await bench.recall('r'), []);
      const [second] = await bench.lease({ requestId: 'r', token: 'second' });
      assert.ok(first && second);
      assert.notEqual(second.task.id, first.task.id);
      assert.equal((await bench.release(held(first))).outcome, 'settled');
      assert.equal((await bench.ack(held(second))).outcome, 'settled');
    });

    rule('disowning leaves what a later call with the id was granted', async (bench) => {
      await bench.putAll([{}, {}]);
      const [first] = await bench.lease({ requestId: 'r', token: 'first' });
      await bench.release(held(first ?? assert.fail()));
      const second = await bench.lease({ requestId: 'r', token: 'second' });
      assert.equal(await bench.disown('r', 'first'), true);
      assert.equal(await bench.disown('r', 'first', 'none'), true);
      assert.equal(await bench.disown('s', 'second'), true);
      assert.deepEqual(await bench.recall('r'), second);
      assert.equal(await bench.disown('r', 'second'), true);
      assert.equal(await bench.disown('r', 'second'), true, 'once more, for whoever lost the reply');
      assert.deepEqual(await bench.recall('r'), []);
    });

    rule('leases that were settled, cancelled, purged or ran out run no more', async (bench) => {
      await bench.putAll([{}, {}, {}, {}, {}, { leaseMs: 500 }, {}]);
      const grants = await bench.lease({ max: 7, requestId: 'r' });
      const [acked, nacked, released, cancelled, asked, ranOut, kept] = grants;
      assert.ok(acked && nacked && released && cancelled && asked && ranOut && kept);
      await bench.ack(held(acked));
      await bench.nack(held(nacked));
      await bench.release(held(released));
      await bench.cancel(cancelled.task.id, { force: true });
      await bench.cancel(asked.task.id);
      await bench.advance(499);
      const ids = async (): Promise<string[]> => (await bench.recall('r')).map(({ task }) => task.id);
      assert.deepEqual(await ids(), [asked.task.id, ranOut.task.id, kept.task.id]);
      await bench.advance(1);
      assert.deepEqual(await ids(), [asked.task.id, kept.task.id]);
      await bench.sweep();
      assert.deepEqual(await ids(), [asked.task.id, kept.task.id]);
      await bench.store.purge('q', 'leased', 1000);
      assert.deepEqual(await ids(), []);
    });

    rule('a task that another call was granted since is no longer the first one’s', async (bench) => {
      const { id } = await bench.put();
      const [first] = await bench.lease({ requestId: 'r' });
      assert.ok(first);
      await bench.release(held(first));
      const [second] = await bench.lease({ requestId: 's' });
      assert.equal(second?.task.id, id);
      assert.deepEqual(await bench.recall('r'), []);
      assert.deepEqual(await bench.recall('s'), [second]);
      await bench.release(held(second));
      await bench.take();
      assert.deepEqual(await bench.recall('s'), []);
    });

    rule('when none of them runs any more it is a new call', async (bench) => {
      const tasks = await bench.putAll([{}, {}]);
      const [first] = await bench.lease({ requestId: 'r' });
      assert.ok(first);
      await bench.ack(held(first));
      const again = await bench.lease({ requestId: 'r', token: 'second' });
      assert.deepEqual(
        again.map(({ task, token }) => [task.id, token]),
        [[tasks[1]?.id, 'second']],
      );
      assert.deepEqual(await bench.recall('r'), again);
      assert.deepEqual(await bench.lease({ requestId: 'r' }), again);
    });

    rule('a call that was granted nothing is no call', async (bench) => {
      assert.deepEqual(await bench.lease({ requestId: 'r' }), []);
      const { id } = await bench.put();
      assert.deepEqual(
        (await bench.lease({ requestId: 'r' })).map(({ task }) => task.id),
        [id],
      );
    });

    rule('an id is that of the latest call that was granted something under it', async (bench) => {
      await bench.put();
      const [first] = await bench.lease({ requestId: 'r', leaseMs: 20_000 });
      assert.ok(first);
      await bench.advance(20_000);
      assert.deepEqual(await bench.lease({ requestId: 'r' }), []);
      await bench.heartbeat(held(first));
      const tokens = async (): Promise<string[]> => (await bench.recall('r')).map(({ token }) => token);
      assert.deepEqual(await tokens(), [first.token]);
      await bench.advance(20_000);
      await bench.put();
      const [second] = await bench.lease({ requestId: 'r' });
      assert.ok(second);
      await bench.heartbeat(held(first));
      assert.equal(await bench.state(first.task.id), 'leased');
      assert.deepEqual(await tokens(), [second.token]);
    });

    rule('ids are per queue, and told apart by every character', async (bench) => {
      const ids = ['r', 'R', 'r ', 'r:1', 'r*', '{r}', '__proto__', 'ß', '|', ',', 'x'.repeat(128)];
      await bench.putAll(
        ids.map(() => ({})),
        'a',
      );
      await bench.put({}, 'b');
      const byId = new Map<string, string | undefined>();
      for (const requestId of ids) byId.set(requestId, (await bench.lease({ requestId }, 'a'))[0]?.task.id);
      assert.equal(new Set(byId.values()).size, ids.length);
      assert.equal((await bench.lease({ requestId: 'r' }, 'b')).length, 1);
      for (const requestId of ids) assert.equal((await bench.recall(requestId, 'a'))[0]?.task.id, byId.get(requestId));
    });

    rule('of two calls with one id in one reply the second answers what the first was granted', async (bench) => {
      await bench.putAll([{}, {}]);
      const { results } = await bench.store.lease([leaseOf({ requestId: 'r' }), leaseOf({ requestId: 'r' })]);
      assert.equal(results[0]?.length, 1);
      assert.deepEqual(results[1], results[0]);
    });

    rule('many calls with one id at the same time are granted one and the same', async (bench) => {
      await bench.putAll([{}, {}, {}]);
      const replies = await Promise.all(Array.from({ length: 10 }, () => bench.lease({ requestId: 'r' })));
      for (const grants of replies) assert.deepEqual(grants, replies[0]);
      assert.equal((await bench.queue()).totals.leased, 1);
    });

    rule('a heartbeat keeps what it is remembered by alive', async (bench) => {
      await bench.put();
      const [grant] = await bench.lease({ requestId: 'r', leaseMs: 20_000 });
      assert.ok(grant);
      await bench.advance(19_999);
      await bench.heartbeat(held(grant), { leaseMs: 3_600_000 });
      await bench.pass(3_599_999);
      assert.deepEqual(
        (await bench.recall('r')).map(({ token }) => token),
        [grant.token],
      );
    });

    rule('a paused queue answers what was granted before', async (bench) => {
      await bench.putAll([{}, {}]);
      const grants = await bench.lease({ requestId: 'r' });
      await bench.store.setPaused('q', true);
      assert.deepEqual(await bench.lease({ requestId: 'r' }), grants);
      assert.deepEqual(await bench.recall('r'), grants);
      assert.deepEqual(await bench.lease({ requestId: 's' }), []);
    });

    rule('a store that is opened again knows them', async (bench) => {
      await bench.put();
      const grants = await bench.lease({ requestId: 'r' });
      await bench.reopen();
      assert.deepEqual(await bench.recall('r'), grants);
      assert.deepEqual(await bench.lease({ requestId: 'r' }), grants);
    });
  },
};
