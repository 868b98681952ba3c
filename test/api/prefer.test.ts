import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StoreError } from '../../src/store/store.ts';
import { until } from '../support/until.ts';
import { assertProblem, MAX_WAITERS, onEveryStore } from './api-app.ts';
import type { HttpCall } from './http-call.ts';

describe('Prefer: wait', () => {
  onEveryStore((app) => {
    /** Leases with these preferences, asking for nothing else; how long the broker was asked to wait, in ms. */
    async function waitOf(
      prefer: string | string[],
      query = '',
    ): Promise<{ applied: string | undefined; waited: number }> {
      const began = performance.now();
      const headers = { prefer: [prefer].flat().join(', ') };
      const reply = await app().get(`/tasks/lease?queue=${app().newQueue()}${query}`, headers);
      assert.equal(reply.status, 200, reply.text);
      assert.deepEqual(reply.body.tasks, []);
      const applied = reply.headers['preference-applied'];
      return { applied: applied === undefined ? undefined : String(applied), waited: performance.now() - began };
    }

    test('wait=0 answers at once, and says that it was heeded', async () => {
      assert.equal((await waitOf('wait=0')).applied, 'wait=0');
      assert.equal((await waitOf('respond-async, Wait = "0"; x=1, wait=60')).applied, 'wait=0');
      assert.equal((await waitOf(['return=minimal', 'wait=0'])).applied, 'wait=0');
    });

    test('wait=1 waits for a second', async () => {
      const { applied, waited } = await waitOf('wait=1');
      assert.equal(applied, 'wait=1');
      assert.ok(waited >= 1000, `${waited} ms`);
    });

    test('waitMs wins, and then nothing is said of the preference', async () => {
      assert.equal((await waitOf('wait=60', '&waitMs=0')).applied, undefined);
      const reply = await app().call('POST', '/tasks/lease', {
        body: { queue: app().newQueue(), waitMs: 0 },
        headers: { prefer: 'wait=60' },
      });
      assert.deepEqual([reply.text, reply.headers['preference-applied']], ['{"tasks":[]}', undefined]);
    });

    test('more than the longest wait is cut to it, and POST takes it too', async () => {
      for (const seconds of ['61', '999999999999', '9'.repeat(400)]) {
        const queue = app().newQueue();
        await app().enqueue({ queue });
        const reply = await app().call('POST', '/tasks/lease', {
          body: { queue },
          headers: { prefer: `wait=${seconds}` },
        });
        assert.equal(reply.body.tasks.length, 1);
        assert.equal(reply.headers['preference-applied'], 'wait=60');
      }
    });

    test('nothing is said of the preference where the call is refused or fails', async () => {
      const queue = app().newQueue();
      const prefer = { prefer: 'wait=30' };
      const calls: HttpCall[] = [];
      while (calls.length < MAX_WAITERS) calls.push(await app().park(queue));
      const refused = await app().get(`/tasks/lease?queue=${queue}`, prefer);
      assertProblem(refused, 429, 'too_many_waiters');
      for (const call of calls) call.hangUp();
      await until(() => app().broker.waiters(queue) === 0, { what: 'all have gone' });
      app().watch.fail('lease', new StoreError('unavailable', 'the store is away'));
      const failed = await app().get(`/tasks/lease?queue=${queue}`, prefer);
      app().watch.fail('lease', null);
      assertProblem(failed, 503, 'store_unavailable');
      for (const { headers } of [refused, failed]) assert.equal(headers['preference-applied'], undefined);
    });

    test('a preference that is none of ours is ignored', async () => {
      for (const prefer of ['respond-async', 'wait', 'wait=soon', 'wait=-1', 'wait=1.5', 'x="a, wait=0"']) {
        const queue = app().newQueue();
        await app().enqueue({ queue });
        const reply = await app().get(`/tasks/lease?queue=${queue}`, { prefer });
        assert.deepEqual([reply.body.tasks.length, reply.headers['preference-applied']], [1, undefined], prefer);
      }
    });
  });
});
