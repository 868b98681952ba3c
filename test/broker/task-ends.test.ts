import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, mock, test } from 'node:test';
import type { JsonText } from '../../src/domain/json-text.ts';
import type { NewTask } from '../../src/domain/task.ts';
import { TaskWaits } from '../../src/broker/task-waits.ts';
import type { OpenStore } from '../support/store-harness.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { until } from '../support/until.ts';
import { RunningBroker } from './running-broker.ts';

const LATER_MS = 10_000;

for (const makeHarness of Object.values(STORE_HARNESSES)) {
  const harness = makeHarness();
  after(() => harness.stop());

  describe(`a wait for a task on ${harness.name} is told at once of an end of which no reply tells`, () => {
    let opened: OpenStore;
    let at: RunningBroker;
    /** How often a task has been read. */
    let looks = 0;
    beforeEach(async () => {
      opened = await harness.open();
      // Without the look-up every second, which would find each of them in the end.
      mock.timers.enable({ apis: ['setInterval'] });
      at = new RunningBroker(opened.store);
      looks = 0;
    });
    afterEach(async () => {
      await at.broker.stop();
      await opened.close();
      mock.timers.reset();
    });

    async function enqueue(more: Partial<NewTask> = {}): Promise<string> {
      const { store } = opened;
      const id = store.newTaskId('q');
      const task: NewTask = {
        id,
        type: null,
        payload: 'null' as JsonText,
        ...{ priority: 4, delayMs: null, runAt: null, ttlMs: null, leaseMs: LATER_MS, maxAttempts: 1, backoff: null },
        ...{ tags: [], metadata: {}, trace: null, idempotency: null, unique: null, groupKey: null, retentionMs: null },
        ...more,
      };
      await store.enqueue([{ queue: 'q', tasks: [task] }]);
      return id;
    }

    /** Resolves when a wait has begun, and nothing more is looked up for it. */
    async function looked(): Promise<void> {
      // Before and after it is watched, and where word comes over a subscription, when that has begun.
      looks += looks === 0 && harness.name === 'redis' ? 3 : 2;
      await until(() => at.watch.replies('get') === looks, { what: 'it has been looked up' });
      await at.quiet();
    }

    async function begin(id: string): Promise<() => Promise<string>> {
      const ended = at.broker.finishedTask(id, 60_000, new AbortController().signal);
      ended.catch(() => {});
      await looked();
      looks++;
      return async () => {
        const task = await ended;
        return task === null ? 'deleted' : Object(task).state;
      };
    }

    const lease = async (): Promise<string> => {
      await opened.store.lease([
        { queue: 'q', token: 'token', max: 1, leaseMs: null, workerId: null, requestId: null },
      ]);
      return 'token';
    };

    test('the expiry of its last lease', async () => {
      const id = await enqueue();
      await lease();
      const state = await begin(id);
      await opened.advance(LATER_MS + 1);
      await opened.store.sweep();
      assert.equal(await state(), 'dead');
    });

    test('the expiry of its last lease, found by a heartbeat that is too late', async () => {
      const id = await enqueue();
      const token = await lease();
      const state = await begin(id);
      await opened.advance(LATER_MS + 1);
      const { results } = await at.broker.settle([
        { verb: 'heartbeat', id, token, leaseMs: null, progress: null, checkpoint: null },
      ]);
      assert.equal(results[0]?.outcome, 'refused');
      assert.equal(await state(), 'dead');
    });

    test('its ttl', async () => {
      const state = await begin(await enqueue({ ttlMs: LATER_MS }));
      await opened.advance(LATER_MS + 1);
      await opened.store.sweep();
      assert.equal(await state(), 'expired');
    });

    test('its ttl, found by a call that would have leased it', async () => {
      const state = await begin(await enqueue({ ttlMs: LATER_MS }));
      await opened.advance(LATER_MS + 1);
      await lease();
      assert.equal(await state(), 'expired');
    });

    test('a purge', async () => {
      for (const runAfterMs of [null, LATER_MS]) {
        const state = await begin(await enqueue({ delayMs: runAfterMs }));
        await at.broker.purgeQueue('q', ['ready', 'scheduled']);
        assert.equal(await state(), 'deleted');
      }
      const id = await enqueue();
      await lease();
      const state = await begin(id);
      await at.broker.deleteQueue('q', true);
      assert.equal(await state(), 'deleted');
    });

    test('and several words of one end cost one look', async () => {
      const id = await enqueue();
      const token = await lease();
      const state = await begin(id);
      const before = at.watch.calls('get');
      await at.broker.settle([{ verb: 'ack', id, token, result: null }]);
      assert.equal(await state(), 'completed');
      await at.quiet();
      assert.equal(at.watch.calls('get'), before + 1);
    });

    test('and word that comes while the task is looked up is not lost', async () => {
      const id = await enqueue();
      const waits = new TaskWaits(
        at.watch.store,
        () => true,
        ({ results }) => results,
      );
      const waiting = waits.wait(id, 60_000, new AbortController().signal);
      await looked();
      const hold = at.watch.hold('reply', 'get');
      waits.finished(id);
      await until(() => hold.held === 1, { what: 'it has been read before its end' });
      await opened.store.cancel([{ id, reason: null, force: false }]);
      waits.finished(id);
      hold.release();
      assert.equal(Object(await waiting).state, 'cancelled');
    });
  });
}
