import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import type { Grant } from '../../src/domain/task.ts';
import type { OpenStore } from '../support/store-harness.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { numbers, RunningBroker, soFar } from './running-broker.ts';

for (const [name, makeHarness] of Object.entries(STORE_HARNESSES)) {
  describe(`polls that a limit holds back on ${name}`, () => {
    const harness = makeHarness();
    let opened: OpenStore;
    let at: RunningBroker;
    after(() => harness.stop());
    beforeEach(async () => {
      opened = await harness.open();
      at = new RunningBroker(opened.store);
    });
    afterEach(async () => {
      await at.broker.stop();
      await opened.close();
    });

    test('a rate limit lets the next one go at its time, without a word from anybody', async () => {
      await at.broker.configureQueue('q', { rateLimit: { limit: 2, periodMs: 50 } }, 'merge');
      const polls = await at.park(5, 'q');
      await at.enqueue('q', 5);
      await at.quiet();
      assert.deepEqual(
        (await soFar(polls)).map((grants) => grants !== null),
        [true, true, false, false, false],
      );
      for (const poll of polls.slice(2, 5)) {
        await opened.advance(25);
        await opened.advance(25);
        assert.equal((await poll.grants).length, 1);
      }
    });

    test('an opening after everybody has left asks for nobody', async () => {
      await at.broker.configureQueue('q', { rateLimit: { limit: 1, periodMs: 60_000 } }, 'merge');
      const [first, second] = await at.park(2, 'q');
      assert.ok(first && second);
      await at.enqueue('q', 2);
      await first.grants;
      second.abort();
      await at.quiet();
      assert.equal(at.broker.waiters('q'), 0);
      const [later] = await at.park(1, 'q');
      await opened.advance(60_000);
      await at.enqueue('q');
      assert.equal((await later?.grants)?.length, 1);
    });

    const ENDS: Record<string, (grant: Grant) => Promise<unknown>> = {
      'an ack': ({ task, token }) => at.broker.settle([{ verb: 'ack', id: task.id, token, result: null }]),
      'a nack that is final': ({ task, token }) =>
        at.broker.settle([{ verb: 'nack', id: task.id, token, error: null, retryable: false, delayMs: null }]),
      'a release for later': ({ task, token }) =>
        at.broker.settle([{ verb: 'release', id: task.id, token, delayMs: 5000 }]),
      'a forced cancel': ({ task }) => at.broker.cancel({ id: task.id, reason: null, force: true }),
    };
    for (const [end, bring] of Object.entries(ENDS)) {
      test(`${end} lets the next one pass where maxConcurrency held it back`, async () => {
        await at.broker.configureQueue('q', { maxConcurrency: 1 }, 'merge');
        const [first, second] = await at.park(2, 'q');
        assert.ok(first && second);
        await at.enqueue('q', 2);
        const [grant] = await first.grants;
        await at.quiet();
        assert.deepEqual(await soFar([second]), [null]);
        assert.ok(grant);
        await bring(grant);
        assert.deepEqual(await numbers(second), [1]);
      });
    }

    test('a limit that is raised lets waiters pass at once', async () => {
      await at.broker.configureQueue('q', { maxConcurrency: 1 }, 'merge');
      const polls = await at.park(3, 'q');
      await at.enqueue('q', 3);
      await polls[0]?.grants;
      await at.broker.configureQueue('q', { maxConcurrency: 3 }, 'merge');
      for (const [index, poll] of polls.entries()) assert.deepEqual(await numbers(poll), [index]);
    });

    test('the end of a lease asks for nobody where there is no limit, or nothing is ready', async () => {
      const polls = await at.park(3, 'q');
      await at.enqueue('q', 2);
      const grants = (await Promise.all(polls.slice(0, 2).map((poll) => poll.grants))).flat();
      await at.quiet();
      for (const [index, { task, token }] of grants.entries()) {
        const calls = at.watch.calls('lease');
        await at.broker.settle([{ verb: 'ack', id: task.id, token, result: null }]);
        await at.quiet();
        assert.equal(at.watch.calls('lease'), calls);
        if (index === 0) await at.broker.configureQueue('q', { maxConcurrency: 5 }, 'merge');
        await at.quiet();
      }
    });
  });
}
