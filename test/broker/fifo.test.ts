import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fifo } from '../../src/broker/fifo.ts';

describe('a line that may be left at any place', () => {
  it('keeps the order of entering, whoever leaves', () => {
    const line = new Fifo<string>();
    const places = ['a', 'b', 'c', 'd', 'e'].map((item) => line.enter(item));
    for (const at of [0, 2, 4]) {
      const place = places[at];
      assert.ok(place && line.leave(place));
    }
    line.enter('f');
    assert.deepEqual([...line], ['b', 'd', 'f']);
    assert.equal(line.size, 3);
  });

  it('is left once', () => {
    const line = new Fifo<string>();
    const place = line.enter('a');
    line.enter('b');
    assert.equal(line.leave(place), true);
    assert.equal(line.leave(place), false);
    assert.deepEqual([...line], ['b']);
    assert.equal(line.size, 1);
  });

  it('gives out the first until it is empty, and can be entered again', () => {
    const line = new Fifo<string>();
    const first = line.enter('a');
    line.enter('b');
    assert.deepEqual([line.shift(), line.shift(), line.shift()], ['a', 'b', undefined]);
    assert.equal(line.leave(first), false);
    line.enter('c');
    assert.deepEqual([...line], ['c']);
  });
});
