import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { until } from '../support/until.ts';
import { RunningBroker } from './running-broker.ts';

describe('waits for the end of a task', () => {
  let store: SqliteStore;
  let at: RunningBroker;
  let id: string;
  beforeEach(async () => {
    store = new SqliteStore({ path: ':memory:', durability: 'full' });
    await store.open();
    // Without the look-up every second, so that looks can be counted.
    mock.timers.enable({ apis: ['setInterval'] });
    at = new RunningBroker(store);
    id = (await at.enqueue('q'))[0]?.id ?? assert.fail();
  });
  afterEach(async () => {
    await at.broker.stop();
    await store.close();
    mock.timers.reset();
  });

  function wait(task = id, waitMs = 60_000): { ended: Promise<unknown>; abort: () => void } {
    const client = new AbortController();
    return { ended: at.broker.finishedTask(task, waitMs, client.signal), abort: () => client.abort() };
  }

  const cancel = (): Promise<unknown> => at.broker.cancel({ id, reason: null, force: false });

  async function stateOf({ ended }: { ended: Promise<unknown> }): Promise<string> {
    return (Object(await ended) as { state: string }).state;
  }

  test('an end is looked up as soon as it is known, once for all who wait for it', async () => {
    const waits = Array.from({ length: 1000 }, () => wait());
    await at.quiet();
    const before = at.watch.calls('get');
    await cancel();
    assert.equal(at.watch.calls('get'), before + 1);
    for (const one of waits) assert.equal(await stateOf(one), 'cancelled');
    assert.equal(at.watch.calls('get'), before + 1);
  });

  test('every verb that ends a task tells of it', async () => {
    for (const verb of ['ack', 'nack'] as const) {
      const [task] = await at.enqueue(verb);
      const one = wait(task?.id);
      await at.quiet();
      const [grant] = await at.poll(verb, { waitMs: 0 }).grants;
      const { token = '' } = grant ?? {};
      const held = { id: task?.id ?? '', token };
      const before = at.watch.calls('get');
      await at.broker.settle([
        verb === 'ack'
          ? { verb, ...held, result: null }
          : { verb, ...held, error: null, retryable: false, delayMs: null },
      ]);
      assert.equal(at.watch.calls('get'), before + 1, verb);
      assert.equal(await stateOf(one), verb === 'ack' ? 'completed' : 'dead');
    }
  });

  test('all that are waited for are looked up every second, in case no word comes', async () => {
    const waits = [wait(), wait()];
    await at.quiet();
    at.watch.store.wakes?.onFinished(() => {});
    await store.cancel([{ id, reason: null, force: false }]);
    mock.timers.tick(1000);
    for (const one of waits) assert.equal(await stateOf(one), 'cancelled');
  });

  test('an end between the first look and the wait is not missed', async () => {
    const hold = at.watch.hold('reply', 'get');
    const one = wait();
    await until(() => hold.held === 1, { what: 'it was looked up before its end' });
    await cancel();
    hold.release();
    assert.equal(await stateOf(one), 'cancelled');
  });

  test('a client that goes is answered the task as it was, and leaves the others waiting', async () => {
    const [gone, stays] = [wait(), wait()];
    await at.quiet();
    gone.abort();
    assert.equal(await stateOf(gone), 'ready');
    await cancel();
    assert.equal(await stateOf(stays), 'cancelled');
  });

  test('a wait that runs out while the task ends is answered once, with a task that was true', async () => {
    const one = wait(id, 1);
    const hold = at.watch.hold('reply', 'get');
    await cancel();
    await until(() => hold.held >= 1, { what: 'it is looked up' });
    hold.release();
    assert.match(await stateOf(one), /^(ready|cancelled)$/);
  });

  test('a store that fails is told to all who wait', async () => {
    const waits = [wait(), wait()];
    await at.quiet();
    at.watch.fail('get', new StoreError('unavailable', 'the store is away'));
    const told = waits.map(({ ended }) => assert.rejects(ended, { kind: 'unavailable' }));
    await cancel();
    await Promise.all(told);
    await assert.rejects(wait().ended, { kind: 'unavailable' });
    at.watch.fail('get', null);
    assert.equal(await stateOf(wait()), 'cancelled');
  });

  test('a store that fails while a wait is being set up is told at once', async () => {
    const first = at.watch.hold('reply', 'get');
    const one = wait();
    await until(() => first.held === 1, { what: 'it was looked up' });
    const second = at.watch.hold('call', 'get');
    first.release();
    await until(() => second.held === 1, { what: 'it is looked up once more' });
    at.watch.fail('get', new StoreError('unavailable', 'the store is away'));
    mock.timers.tick(1000);
    await assert.rejects(one.ended, { kind: 'unavailable' });
    second.release();
  });

  test('draining answers all with the task as it is', async () => {
    const waits = Array.from({ length: 100 }, () => wait());
    await at.quiet();
    at.broker.drain();
    for (const one of [...waits, wait()]) assert.equal(await stateOf(one), 'ready');
  });
});
