import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { StoreError } from '../../src/store/store.ts';
import type { OpenStore } from '../support/store-harness.ts';
import { sqliteHarness } from '../support/sqlite-harness.ts';
import { until } from '../support/until.ts';
import { RunningBroker } from './running-broker.ts';

const GONE = new StoreError('unavailable', 'the store is gone for a while');
const ALL = {
  to: null,
  filter: { type: null, errorCode: null, diedBefore: null },
  max: null,
  ratePerSec: null,
  dryRun: false,
};

describe('operations of a broker', () => {
  const harness = sqliteHarness();
  let opened: OpenStore;
  let running: RunningBroker;
  beforeEach(async () => {
    opened = await harness.open();
    running = new RunningBroker(opened.store);
    await running.enqueue('q', 3);
    for (const { task, token } of await running.poll('q', { max: 3 }).grants) {
      const nack = { verb: 'nack', error: null, retryable: false, delayMs: null } as const;
      await running.broker.settle([{ ...nack, id: task.id, token }]);
    }
  });
  afterEach(async () => {
    await running.broker.stop();
    await opened.close();
  });
  after(() => harness.stop());

  test('one whose step fails goes on when the store answers again', async () => {
    const { broker, watch } = running;
    const begun = await broker.redriveMany('q', { ...ALL, ratePerSec: 100 });
    assert.equal(begun.outcome, 'begun');
    const id = begun.outcome === 'begun' ? begun.operation.id : '';
    watch.fail('stepOperations', GONE);
    broker.start();
    await until(() => watch.calls('stepOperations') > 0, { what: 'a step was tried' });
    watch.fail('stepOperations', null);
    await until(async () => (await broker.operation(id))?.state === 'completed', { what: 'the end' });
    assert.equal((await running.queue('q')).counts.ready, 3);
  });

  for (const { where, what } of [
    { where: 'call', what: 'is refused' },
    { where: 'reply', what: 'is not answered' },
  ] as const) {
    test(`a redrive of which a step ${what} is answered as an operation, which goes on without a restart`, async () => {
      const { broker, watch } = running;
      broker.start();
      await until(() => watch.replies('runningOperations') === 1, { what: 'the start has looked for others' });
      const step = watch.hold(where, 'stepOperations');
      const redrive = broker.redriveMany('q', ALL);
      await until(() => step.held === 1, { what: 'the step' });
      step.fail(new StoreError(where === 'call' ? 'full' : 'unavailable', 'no room for a while'));
      const reply = await redrive;
      assert.equal(reply.outcome, 'begun');
      const { id, state, total } = reply.outcome === 'begun' ? reply.operation : assert.fail();
      assert.deepEqual([state, total], ['running', 3]);
      await until(async () => (await broker.operation(id))?.state === 'completed', { what: 'the end' });
      assert.equal((await running.queue('q')).counts.ready, 3);
    });
  }

  test('one that was stored although the call failed goes on without a restart', async () => {
    const { broker, watch } = running;
    broker.start();
    await until(() => watch.replies('runningOperations') === 1, { what: 'the start has looked for others' });
    const creation = watch.hold('reply', 'createOperations');
    const redrive = broker.redriveMany('q', ALL);
    await until(() => creation.held === 1, { what: 'it is stored' });
    creation.fail(GONE);
    await assert.rejects(redrive, GONE);
    await until(async () => (await running.queue('q')).counts.ready === 3, { what: 'all are redriven' });
  });

  test('one that was begun before the broker started is found at its start', async () => {
    const { broker } = running;
    const begun = await broker.redriveMany('q', { ...ALL, ratePerSec: 100 });
    const later = new RunningBroker(opened.store);
    later.broker.start();
    const id = begun.outcome === 'begun' ? begun.operation.id : '';
    await until(async () => (await later.broker.operation(id))?.state === 'completed', { what: 'the end' });
    await later.broker.stop();
  });

  test('what is done is answered though it cannot be forgotten', async () => {
    running.watch.fail('forgetOperations', GONE);
    assert.deepEqual(await running.broker.redriveMany('q', ALL), {
      outcome: 'done',
      matched: 3,
      moved: 3,
      more: false,
    });
  });
});
