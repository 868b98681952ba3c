import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { DiskEvent } from '../disk/recording.ts';
import { appendOnlyHome } from './append-only-file.ts';
import { tryCut } from './power-loss.ts';

const MANIFEST = 'appendonlydir/appendonly.aof.manifest';
const at = 0n;
const sync = (file: bigint, no: bigint, path: string): DiskEvent[] => [
  { at, kind: 'sync-begin', file, sync: no, path },
  { at, kind: 'sync-end', file, sync: no, path },
];
/** Redis was making its folder: what it begins with is named already and not there yet. */
const BEGUN: DiskEvent[] = [
  { at, kind: 'create', file: 2n, path: MANIFEST },
  { at, kind: 'write', file: 2n, offset: 0, data: Buffer.from('file appendonly.aof.1.base.rdb seq 1 type b\n') },
  ...sync(2n, 1n, MANIFEST),
  ...sync(3n, 2n, 'appendonlydir'),
];
const REPLY: DiskEvent = { at, kind: 'reply', head: 'HTTP/1.1 201 Created\r\nx-request-id: call-0\r\n\r\n' };

describe('a power cut that Redis does not start after', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-unmade-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  const cutAfter = (events: readonly DiskEvent[]) => {
    const account = { calls: new Map(), payloads: new Map() };
    const recording = { events, account, compactions: 1 };
    const { length } = events;
    return tryCut(appendOnlyHome('always'), join(folder, 'revived'), recording, length, 'none', () => 0.5);
  };

  it('has lost nothing as long as nothing was answered: its folder is emptied, and all works', async () => {
    const outcome = await cutAfter(BEGUN);
    assert.ok('verdict' in outcome, JSON.stringify(outcome));
    assert.equal(outcome.verdict.answered, 0);
  });

  it('is a failure as soon as anything was answered', async () => {
    assert.ok('failure' in (await cutAfter([...BEGUN, REPLY])));
  });
});
