import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DiskEvent } from '../disk/recording.ts';
import { type Account, type FoundTask, judge, type Promised } from './promises.ts';

const MS = 1_000_000n;

/** A task's life over four calls, of which the first `answered` were answered, one millisecond apart. */
function lossAfter(answered: number, found: FoundTask | null, statuses: readonly number[] = []): number {
  const story: Promised[] = [
    { task: 't', step: 'stored', state: null },
    { task: 't', step: 'leased', state: null },
    { task: 't', step: 'ended', state: 'dead' },
    { task: 't', step: 'deleted', state: null },
  ];
  const account: Account = {
    calls: new Map(story.map((promised, no) => [`call-${no}`, [promised]])),
    payloads: new Map([['t', 'sent']]),
  };
  const events = story.slice(0, answered).map((_, no): DiskEvent => {
    const head = `HTTP/1.1 ${statuses[no] ?? 200} Said\r\nserver: x\r\nX-Request-Id: call-${no}\r\n\r\n{}`;
    return { at: BigInt(no) * MS, kind: 'reply', head };
  });
  return judge(events, account, new Map(found === null ? [] : [['t', found]])).loss.tasks;
}

const at = (state: string): FoundTask => ({ state, payload: 'sent' });

describe('the judge of a power cut', () => {
  it('sees what was answered and is gone, at each step of a task', () => {
    assert.equal(lossAfter(1, null), 1);
    assert.equal(lossAfter(2, at('ready')), 1);
    assert.equal(lossAfter(3, at('leased')), 1);
    assert.equal(lossAfter(3, at('completed')), 1);
    assert.equal(lossAfter(4, at('dead')), 1);
    assert.equal(lossAfter(1, at('dead')), 1, 'two steps further than was answered is no way to go');
  });

  it('finds it where it is, or one step further, whose reply was on its way', () => {
    assert.equal(lossAfter(0, null), 0);
    assert.equal(lossAfter(1, at('ready')), 0);
    assert.equal(lossAfter(1, at('leased')), 0);
    assert.equal(lossAfter(2, at('dead')), 0);
    assert.equal(lossAfter(3, at('dead')), 0);
    assert.equal(lossAfter(3, null), 0);
    assert.equal(lossAfter(4, null), 0);
  });

  it('takes no other reply than a 2xx for a promise', () => {
    assert.equal(lossAfter(1, null, [503]), 0);
  });

  it('says what was lost, how long before the cut it was answered, and what nobody had posted', () => {
    const account: Account = {
      calls: new Map([['call-0', [{ task: 'a', step: 'stored', state: null }]]]),
      payloads: new Map([
        ['a', 'sent'],
        ['b', 'sent'],
      ]),
    };
    const events: DiskEvent[] = [
      { at: 0n, kind: 'reply', head: 'HTTP/1.1 201 Created\r\nx-request-id: call-0\r\n\r\n' },
      { at: 250n * MS, kind: 'unlink', path: 'x' },
    ];
    const found = new Map([
      ['b', { state: 'ready', payload: 'other' }],
      ['c', at('ready')],
    ]);
    const { answered, loss, phantoms, damaged } = judge(events, account, found);
    assert.deepEqual([answered, loss.tasks, loss.windowMs], [1, 1, 250]);
    assert.match(loss.accounts[0] ?? '', /^a was answered stored 250\.0 ms before the cut, and is not there$/);
    assert.deepEqual(phantoms, ['c']);
    assert.deepEqual(damaged, [{ task: 'b', answered: false }]);
  });
});
