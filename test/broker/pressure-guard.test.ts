import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import { PressureGuard } from '../../src/broker/pressure-guard.ts';
import { StoreError } from '../../src/store/store.ts';
import { SqliteStore } from '../../src/store/sqlite/sqlite-store.ts';
import { until } from '../support/until.ts';
import { RunningBroker } from './running-broker.ts';

interface Line {
  level: number;
  msg: string;
  pressure: string;
}

/** A guard whose looks the test makes, at gauges that the test sets. */
class GuardBench {
  heap = 0;
  memory: number | null | StoreError = null;
  evicts = false;
  readonly lines: Line[] = [];
  readonly guard: PressureGuard;

  constructor() {
    const store = new SqliteStore({ path: ':memory:', durability: 'full' });
    Reflect.defineProperty(store, 'memory', {
      value: async () => {
        if (this.memory instanceof StoreError) throw this.memory;
        return { used: this.memory, evicts: this.evicts };
      },
    });
    const log = pino({}, { write: (line: string) => void this.lines.push(JSON.parse(line)) });
    this.guard = new PressureGuard(store, { heap: () => this.heap, now: () => 0 }, log);
  }

  /** One look after the other; what new tasks were refused for after each. */
  async looks(...lates: number[]): Promise<(string | null)[]> {
    const seen = [];
    for (const late of lates) {
      this.guard.look(late);
      await this.guard.stop();
      seen.push(this.guard.pressure);
    }
    return seen;
  }

  get levels(): number[] {
    return this.lines.map(({ level }) => level);
  }
}

describe('new tasks are refused', () => {
  test('when the event loop is half a second late twice in a row, until it has been in time twice in a row', async () => {
    const bench = new GuardBench();
    assert.deepEqual(await bench.looks(60_000, 1, 500, 499, 500), [null, null, null, null, null]);
    assert.deepEqual(await bench.looks(500), ['event_loop']);
    assert.deepEqual(await bench.looks(101, 499, 99, 100, 99), new Array(5).fill('event_loop'));
    assert.deepEqual(bench.levels, [40]);
    assert.deepEqual(await bench.looks(99, 300, 300), [null, null, null]);
    assert.deepEqual(bench.levels, [40, 30]);
    assert.match(
      bench.lines[0]?.msg ?? '',
      /^new tasks are refused with 503 .* the event loop runs 500 ms late: .*; add /,
    );
    assert.match(bench.lines[1]?.msg ?? '', /^the event loop is in time again: new tasks are taken again$/);
  });

  test('when the heap is almost full three times in a row, until there is room again', async () => {
    const bench = new GuardBench();
    bench.heap = 0.85;
    assert.deepEqual(await bench.looks(0, 0), [null, null]);
    bench.heap = 0.84;
    assert.deepEqual(await bench.looks(0), [null]);
    bench.heap = 0.9;
    assert.deepEqual(await bench.looks(0, 0, 0), [null, null, 'heap']);
    bench.heap = 0.76;
    assert.deepEqual(await bench.looks(0, 0, 0, 0), new Array(4).fill('heap'));
    bench.heap = 0.74;
    assert.deepEqual(await bench.looks(0, 0, 0), ['heap', 'heap', null]);
    assert.deepEqual(bench.levels, [40, 30]);
    assert.match(bench.lines[0]?.msg ?? '', /90 % of the heap is in use: raise its limit with NODE_OPTIONS/);
  });

  test('when the store has used nine tenths of its memory, until it has room again', async () => {
    const bench = new GuardBench();
    bench.memory = 0.89;
    assert.deepEqual(await bench.looks(0), [null]);
    bench.memory = 0.9;
    assert.deepEqual(await bench.looks(0), ['store']);
    bench.memory = 0.86;
    assert.deepEqual(await bench.looks(0, 0), ['store', 'store']);
    bench.memory = 0.84;
    assert.deepEqual(await bench.looks(0), [null]);
    assert.deepEqual(bench.levels, [40, 30]);
    assert.match(bench.lines[0]?.msg ?? '', /the store uses 90 % of its memory: raise its maxmemory/);
  });

  test('while the store may throw tasks away', async () => {
    const bench = new GuardBench();
    bench.evicts = true;
    assert.deepEqual(await bench.looks(0), ['eviction']);
    bench.evicts = false;
    assert.deepEqual(await bench.looks(0), [null]);
    assert.deepEqual(bench.levels, [40, 30]);
    assert.match(bench.lines[0]?.msg ?? '', /may throw tasks away .* set maxmemory-policy to noeviction/);
  });

  test('for as long as the store is known to be almost full, though it does not answer for a while', async () => {
    const bench = new GuardBench();
    bench.memory = 0.95;
    assert.deepEqual(await bench.looks(0), ['store']);
    bench.memory = new StoreError('unavailable', 'the store is away');
    assert.deepEqual(await bench.looks(0, 0), ['store', 'store']);
    bench.memory = null;
    assert.deepEqual(await bench.looks(0), [null]);
  });

  test('until the last of several pressures has passed, of which each is told', async () => {
    const bench = new GuardBench();
    bench.memory = 0.95;
    await bench.looks(600, 600);
    assert.deepEqual(
      bench.lines.map(({ pressure }) => pressure),
      ['store', 'event_loop'],
    );
    bench.memory = 0.5;
    assert.deepEqual(await bench.looks(600), ['event_loop']);
    assert.equal(bench.lines[2]?.msg, 'the memory of the store has room again');
    assert.deepEqual(await bench.looks(0, 0), ['event_loop', null]);
    assert.deepEqual(bench.levels, [40, 40, 30, 30]);
  });
});

test('a broker under pressure leases and settles, and takes new tasks again when it has passed', async () => {
  const store = new SqliteStore({ path: ':memory:', durability: 'full' });
  await store.open();
  let now = 0;
  let slow = 5000;
  const at = new RunningBroker(store, 10, { heap: () => 0, now: () => (now += 1000 + slow) });
  const [task] = await at.enqueue('q');
  at.broker.start();
  const taken = (): Promise<boolean> =>
    at.enqueue('other').then(Boolean, (error: Error) => {
      assert.match(error.message, /under_pressure/);
      return false;
    });
  await until(async () => !(await taken()), { what: 'new tasks are refused' });
  const [grant] = await at.poll('q').grants;
  assert.equal(grant?.task.id, task?.id);
  const { results } = await at.broker.settle([
    { verb: 'ack', id: task?.id ?? '', token: grant?.token ?? '', result: null },
  ]);
  assert.equal(results[0]?.outcome, 'settled');
  slow = 0;
  await until(taken, { what: 'new tasks are taken again' });
  await at.broker.stop();
  await store.close();
});
