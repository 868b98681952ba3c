import assert from 'node:assert/strict';
import { held, json, type Theme, type Workbench } from './workbench.ts';

/** Stores one task per name, the name being its payload, and answers the ids by name. */
async function line(bench: Workbench, names: string, priority = 4): Promise<Record<string, string>> {
  const tasks = await bench.putAll(names.split('').map((name) => ({ payload: json(name), priority })));
  return Object.fromEntries(tasks.map(({ id }, index) => [names[index] ?? '', id]));
}

/** The names of all ready tasks in the order of their grants; it leases them. */
async function order(bench: Workbench): Promise<string> {
  let names = '';
  for (const id of await bench.drain()) names += JSON.parse((await bench.get(id)).payload);
  return names;
}

export const leaseOrder: Theme = {
  name: 'the order of grants',
  rules(rule) {
    rule('first in, first out, across calls and moments', async (bench) => {
      await line(bench, 'ab');
      await bench.advance(10);
      await line(bench, 'cd');
      await line(bench, 'e');
      assert.equal(await order(bench), 'abcde');
    });

    rule('a higher priority goes first, and one priority is a line of its own', async (bench) => {
      await line(bench, 'ab', 0);
      await line(bench, 'cd', 4);
      await line(bench, 'ef', 9);
      await line(bench, 'g', 4);
      await line(bench, 'h', 5);
      assert.equal(await order(bench), 'efhcdgab');
    });

    rule('one call takes across priorities', async (bench) => {
      await line(bench, 'a', 1);
      await line(bench, 'b', 8);
      await line(bench, 'c', 3);
      const grants = await bench.lease({ max: 2 });
      assert.deepEqual(
        grants.map(({ task }) => task.payload),
        ['"b"', '"c"'],
      );
    });

    rule('queues do not stand in each other’s way', async (bench) => {
      await bench.put({ payload: json('x'), priority: 9 }, 'other');
      await line(bench, 'ab');
      assert.equal(await order(bench), 'ab');
    });

    rule('a nack without delay goes to the back', async (bench) => {
      await line(bench, 'abc');
      const grant = await bench.take();
      await bench.nack(held(grant), { delayMs: 0 });
      assert.equal(await order(bench), 'bca');
    });

    rule('a due task goes to the back at the moment it is promoted', async (bench) => {
      await bench.put({ payload: json('x'), delayMs: 10 });
      await line(bench, 'ab');
      await bench.advance(20);
      await line(bench, 'c');
      await bench.sweep();
      await line(bench, 'd');
      assert.equal(await order(bench), 'abcxd');
    });

    rule('tasks due together line up by when they were due, then by creation', async (bench) => {
      const delays = { a: 30, b: 10, c: 20, d: 10, e: 30 };
      for (const [name, delayMs] of Object.entries(delays)) await bench.put({ payload: json(name), delayMs });
      await bench.pass(100);
      assert.equal(await order(bench), 'bdcae');
    });

    rule('creation is when a task was stored, not when its id was minted', async (bench) => {
      const [second, first] = ['y', 'x'].map((name) => bench.task({ payload: json(name), delayMs: 10 }));
      if (!first || !second) throw new Error('two tasks');
      await bench.enqueue([first]);
      await bench.enqueue([second]);
      await bench.pass(100);
      assert.equal(await order(bench), 'xy');
    });

    rule('a retry lines up by when it was due, like any scheduled task', async (bench) => {
      await line(bench, 'a');
      await bench.nack(held(await bench.take()), { delayMs: 50 });
      await bench.put({ payload: json('b'), delayMs: 50 });
      await bench.put({ payload: json('c'), delayMs: 49 });
      await bench.pass(50);
      assert.equal(await order(bench), 'cab');
    });

    rule('a redriven task goes to the back', async (bench) => {
      const ids = await line(bench, 'abc');
      await bench.cancel(ids['a'] ?? '');
      await bench.redrive(ids['a'] ?? '');
      assert.equal(await order(bench), 'bca');
    });

    rule('a released task goes back to its old place', async (bench) => {
      await line(bench, 'abcd');
      const [a, b, c] = await bench.lease({ max: 3 });
      if (!a || !b || !c) throw new Error('three grants');
      await bench.release(held(c));
      await bench.release(held(a));
      await bench.release(held(b));
      assert.equal(await order(bench), 'abcd');
    });

    rule('the old place of one that went to the back is there', async (bench) => {
      await line(bench, 'ab');
      await bench.nack(held(await bench.take()), { delayMs: 0 });
      await line(bench, 'c');
      const [b, a] = await bench.lease({ max: 2 });
      if (!a || !b) throw new Error('two grants');
      await bench.release(held(a));
      await bench.release(held(b));
      assert.equal(await order(bench), 'bac');
    });

    rule('a task released with a delay goes to the back when it is due', async (bench) => {
      await line(bench, 'ab');
      await bench.release(held(await bench.take()), { delayMs: 10 });
      await bench.pass(10);
      await line(bench, 'c');
      assert.equal(await order(bench), 'bac');
    });

    rule('a task whose lease ran out goes to the very front of its priority', async (bench) => {
      await line(bench, 'ab');
      await line(bench, 'h', 9);
      const [h, a] = await bench.lease({ max: 2, leaseMs: 100 });
      assert.deepEqual([h?.task.payload, a?.task.payload], ['"h"', '"a"']);
      await line(bench, 'i', 9);
      await bench.pass(100);
      await line(bench, 'c');
      assert.equal(await order(bench), 'hiabc');
    });

    rule('several expired ones keep the order of their grants, whichever ran out first', async (bench) => {
      await line(bench, 'abcd');
      for (const leaseMs of [300, 200, 100]) await bench.take({ leaseMs });
      await bench.pass(100);
      await bench.pass(100);
      await bench.pass(100);
      assert.equal(await order(bench), 'abcd');
    });

    rule('the order of grants counts, not that of creation', async (bench) => {
      await line(bench, 'abc');
      const a = await bench.take();
      await bench.take({ leaseMs: 100 });
      await bench.nack(held(a), { delayMs: 0 });
      await bench.take({ leaseMs: 100 });
      await bench.take({ leaseMs: 100 });
      await bench.pass(100);
      assert.equal(await order(bench), 'bca');
    });

    rule('an expired task that is leased and released is back at the front', async (bench) => {
      await line(bench, 'abc');
      await bench.take({ leaseMs: 100 });
      await bench.pass(100);
      const grants = await bench.lease({ max: 2 });
      for (const grant of grants) await bench.release(held(grant));
      assert.equal(await order(bench), 'abc');
      assert.equal(grants[0]?.task.deliveries, 2);
    });

    rule('among expired ones, a released one keeps the place its own expiry gave it', async (bench) => {
      await line(bench, 'abc');
      await bench.lease({ max: 2, leaseMs: 100 });
      await bench.pass(100);
      const [a, b] = await bench.lease({ max: 2 });
      if (!a || !b) throw new Error('two grants');
      await bench.release(held(b));
      await bench.release(held(a));
      assert.equal(await order(bench), 'abc');
    });

    rule('an expired task that is granted and runs out again stands by its later grant', async (bench) => {
      await line(bench, 'abc');
      await bench.lease({ max: 2, leaseMs: 100 });
      await bench.pass(100);
      await bench.take({ leaseMs: 100 });
      await bench.pass(100);
      assert.equal(await order(bench), 'bac');
    });

    rule('one at the front that is past its ttl does not let the line pass those behind it', async (bench) => {
      const { id: first } = await bench.put();
      await bench.put({ ttlMs: 500 });
      const { id: third } = await bench.put();
      await bench.lease({ max: 3, leaseMs: 100 });
      await bench.pass(100);
      await bench.put();
      await bench.advance(500);
      const granted = (await bench.lease({ max: 2 })).map(({ task }) => task.id);
      assert.deepEqual(granted, [first, third]);
    });

    rule('an expiry that a settle discovers gives the same place as the sweep', async (bench) => {
      const ids = await line(bench, 'abc');
      await bench.lease({ max: 2, leaseMs: 100 });
      await bench.advance(100);
      await bench.heartbeat({ id: ids['b'] ?? '', token: 'wrong' });
      await bench.heartbeat({ id: ids['a'] ?? '', token: 'wrong' });
      assert.equal(await order(bench), 'abc');
    });
  },
};
