import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seeded } from '../../support/seeded.ts';
import { filesAfterPowerCut, filesWithoutPowerCut, type Survival } from './power-cut.ts';
import type { DiskEvent } from './recording.ts';

const FOLDER = 1n;
const at = 0n;
let syncs = 0n;

const create = (path: string, file: bigint): DiskEvent => ({ at, kind: 'create', file, path });
const write = (file: bigint, text: string, offset = 0): DiskEvent => ({
  ...{ at, kind: 'write', file, offset },
  data: Buffer.from(text),
});
const rename = (path: string, to: string): DiskEvent => ({ at, kind: 'rename', path, to });
const unlink = (path: string): DiskEvent => ({ at, kind: 'unlink', path });

/** A sync, with what is done while it is under way. */
function sync(file: bigint, path: string, meanwhile: readonly DiskEvent[] = []): DiskEvent[] {
  const no = syncs++;
  return [
    { at, kind: 'sync-begin', file, sync: no, path },
    ...meanwhile,
    { at, kind: 'sync-end', file, sync: no, path },
  ];
}
const syncFolder = (): DiskEvent[] => sync(FOLDER, '');

function left(events: readonly DiskEvent[], survival: Survival = 'none', seed = 1): Record<string, string> {
  const files = filesAfterPowerCut(events, survival, seeded(seed));
  return Object.fromEntries([...files].map(([path, content]) => [path, content.toString()]));
}

/** What is left in many cuts of the same events, each once. */
function outcomes(events: readonly DiskEvent[], survival: Survival): Set<string> {
  return new Set(Array.from({ length: 300 }, (_, seed) => JSON.stringify(left(events, survival, seed))));
}

describe('a disk after a power cut', () => {
  it('holds what was synced, whatever becomes of the rest', () => {
    const events = [create('a', 2n), ...syncFolder(), write(2n, 'kept'), ...sync(2n, 'a'), write(2n, 'more', 4)];
    assert.deepEqual(left(events), { a: 'kept' });
    for (const survival of ['prefix', 'some'] as const) {
      assert.deepEqual(outcomes(events, survival), new Set(['{"a":"kept"}', '{"a":"keptmore"}']));
    }
  });

  it('owes nothing that was written after the sync began, nor what a sync that has not ended was for', () => {
    const begun = [create('a', 2n), ...syncFolder(), write(2n, 'one')];
    assert.deepEqual(left([...begun, ...sync(2n, 'a', [write(2n, 'two', 3)])]), { a: 'one' });
    assert.deepEqual(left([...begun, ...sync(2n, 'a').slice(0, 1)]), { a: '' });
  });

  it('has a sector as it was or as it was written, never in between', () => {
    const text = (letter: string) => letter.repeat(1000);
    const events = [
      ...[create('a', 2n), ...syncFolder(), write(2n, text('o')), ...sync(2n, 'a')],
      write(2n, text('n').slice(0, 800), 100),
    ];
    const [first, second] = [text('n').slice(0, 412), text('n').slice(0, 388)];
    const whole = (one: string, other: string) =>
      `{"a":"${text('o').slice(0, 100)}${one}${other}${text('o').slice(0, 100)}"}`;
    const [oldFirst, oldSecond] = [text('o').slice(0, 412), text('o').slice(0, 388)];
    assert.deepEqual(
      outcomes(events, 'prefix'),
      new Set([whole(oldFirst, oldSecond), whole(first, oldSecond), whole(first, second)]),
    );
    assert.equal(outcomes(events, 'some').size, 4);
  });

  it('has zeros where a later sector was written and an earlier one was not', () => {
    const events = [create('a', 2n), ...syncFolder(), write(2n, 'x'.repeat(1024))];
    assert.ok(outcomes(events, 'some').has(JSON.stringify({ a: '\0'.repeat(512) + 'x'.repeat(512) })));
  });

  it('has lost a name that was made or moved and whose folder was not synced, but never half of a move', () => {
    const made = [create('new', 2n), write(2n, 'new'), ...sync(2n, 'new')];
    assert.deepEqual(left(made), {});
    const both = [create('old', 3n), write(3n, 'old'), ...sync(3n, 'old'), ...made, ...syncFolder()];
    assert.deepEqual(left([...both, rename('new', 'old')]), { old: 'old', new: 'new' });
    assert.deepEqual(left([...both, rename('new', 'old'), ...syncFolder()]), { old: 'new' });
    assert.deepEqual(
      outcomes([...both, rename('new', 'old')], 'some'),
      new Set(['{"old":"old","new":"new"}', '{"old":"new"}']),
    );
  });

  it('knows a file from one before it that had its number', () => {
    const events = [
      ...[create('a', 2n), write(2n, 'first'), unlink('a'), create('b', 2n), write(2n, 'second'), ...syncFolder()],
      ...sync(2n, 'b'),
    ];
    assert.deepEqual(left(events), { b: 'second' });
  });

  it('is as programs see it when the power stays on', () => {
    const cut: DiskEvent = { at, kind: 'truncate', file: 2n, size: 2 };
    const events = [create('a', 2n), write(2n, 'abcdef'), cut, write(2n, 'x', 3), rename('a', 'b')];
    assert.deepEqual(
      [...filesWithoutPowerCut(events)].map(([path, content]) => [path, content.toString()]),
      [['b', 'ab\0x']],
    );
  });
});
