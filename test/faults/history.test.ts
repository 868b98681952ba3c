import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Event } from './history/event.ts';
import { HistoryWriter } from './history/history-writer.ts';
import { closeForTheDead, HistoryRejected, mergeHistories, parseHistory, readHistory } from './history/read-history.ts';

const dir = mkdtempSync(join(tmpdir(), 'lessor-history-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const events: Event[] = [
  { kind: 'begin', home: 'paper', seed: 1, command: 'none' },
  { kind: 'unknown', call: 'c1', status: null, why: 'reset' },
  { kind: 'failed', call: 'c2', status: 409, code: 'lease_lost' },
  { kind: 'drained' },
];
let files = 0;

function written(some: readonly Event[], name = 'p'): { writer: HistoryWriter; path: string } {
  const path = join(dir, `${++files}.jsonl`);
  const writer = new HistoryWriter(name, path, { eachAtOnce: true });
  for (const event of some) writer.write(event);
  return { writer, path };
}

function whole(): string[] {
  const { writer, path } = written(events);
  writer.close();
  return readFileSync(path, 'utf8').trimEnd().split('\n');
}

const text = (lines: readonly string[]): string => `${lines.join('\n')}\n`;

describe('a history', () => {
  it('is read as it was written', () => {
    const read = parseHistory(text(whole()));
    assert.deepEqual(
      read.map(({ kind }) => kind),
      events.map(({ kind }) => kind),
    );
  });

  const spoilt: Record<string, (lines: string[]) => string> = {
    'that ends early': (lines) => text(lines.slice(0, -1)),
    'that ends in the middle of a line': (lines) => text(lines).slice(0, -20),
    'without its beginning': (lines) => text(lines.slice(1)),
    'that lacks a line': (lines) => text(lines.toSpliced(2, 1)),
    'with a line twice': (lines) => text(lines.toSpliced(2, 0, lines[2] ?? '')),
    'with two lines in each other’s place': (lines) =>
      text([lines[0], lines[2], lines[1], ...lines.slice(3)].map(String)),
    'that was sorted by something else': (lines) => text(lines.toReversed()),
    'with a number that was changed to fit': (lines) =>
      text(lines.toSpliced(1, 1).map((line, n) => line.replace(/"n":\d+/, `"n":${n + 1}`))),
    'with a word that was changed': (lines) => text(lines).replace('lease_lost', 'lease_kept'),
    'that goes on after its end': (lines) => text([...lines, lines[1] ?? '']),
    'with a closing line that counts wrongly': (lines) => text(lines).replace('"count":4', '"count":3'),
    'that is empty': () => '',
  };
  for (const [what, spoil] of Object.entries(spoilt)) {
    it(`is rejected, not judged: one ${what}`, () => {
      assert.throws(() => parseHistory(spoil(whole())), HistoryRejected);
    });
  }

  it('of a process that was killed is closed by whoever found it dead, without the line that was cut', () => {
    const { path } = written(events.slice(0, 2), 'w1');
    appendFileSync(path, '{"n":3,"kind":"failed","call":"c2","sta');
    assert.throws(() => readHistory(path), HistoryRejected);
    closeForTheDead(path, 'w1', 'the parent');
    assert.equal(readHistory(path).length, 2);
    closeForTheDead(path, 'w1', 'the parent');
    assert.equal(readHistory(path).length, 2);
  });

  it('of several processes is one, in order of time, and only when all of them are whole', () => {
    const [one, two] = [written(events, 'a'), written(events.slice(1), 'b')];
    one.writer.close();
    const into = join(dir, 'all.jsonl');
    assert.throws(() => mergeHistories([one.path, two.path], into), HistoryRejected);
    two.writer.close();
    mergeHistories([one.path, two.path], into);
    const merged = readHistory(into);
    assert.equal(merged.length, 7);
    for (const [index, { at }] of merged.entries()) assert.ok(at >= (merged[index - 1]?.at ?? 0));
    assert.deepEqual(
      merged.filter(({ p }) => p === 'b').map(({ kind }) => kind),
      events.slice(1).map(({ kind }) => kind),
    );
  });
});
