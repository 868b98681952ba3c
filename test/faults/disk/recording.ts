import { readFileSync } from 'node:fs';

/** What a server did to its disk, or sent, in the order in which it did. Files are known by number, names by their path. */
export type DiskEvent = { at: bigint } & (
  | { kind: 'create' | 'open'; file: bigint; path: string }
  | { kind: 'truncate'; file: bigint; size: number }
  | { kind: 'write'; file: bigint; offset: number; data: Buffer }
  /** All that the file holds now; for writes that were not seen one by one. */
  | { kind: 'content'; file: bigint; data: Buffer }
  /** Of a file or, then `file` was never created or opened for writing, of the folder at `path`. */
  | { kind: 'sync-begin' | 'sync-end'; file: bigint; sync: bigint; path: string }
  | { kind: 'rename'; path: string; to: string }
  | { kind: 'unlink'; path: string }
  | { kind: 'reply'; head: string }
);

/** As in recorder.c: `enum kind` and `struct header`. */
const KINDS = [
  'none',
  'create',
  'open',
  'truncate',
  'write',
  'sync-begin',
  'sync-end',
  'rename',
  'unlink',
  'reply',
  'content',
] as const;
const HEADER_BYTES = 40;

/** Reads what a recorder has written. The processes that wrote it must have ended. */
export function readRecording(log: string): DiskEvent[] {
  const bytes = readFileSync(log);
  const events: DiskEvent[] = [];
  for (let start = 0; start < bytes.length; ) {
    const size = bytes.readUInt32LE(start);
    if (size < HEADER_BYTES || start + size > bytes.length) throw new Error(`${log} is damaged at byte ${start}`);
    events.push(decode(bytes.subarray(start, start + size)));
    start += size;
  }
  return events;
}

function decode(record: Buffer): DiskEvent {
  const kind = KINDS[record.readUInt32LE(4)] ?? 'none';
  const pathEnd = HEADER_BYTES + record.readUInt32LE(12);
  const at = record.readBigUInt64LE(16);
  const file = record.readBigUInt64LE(24);
  const number = record.readBigUInt64LE(32);
  const path = record.subarray(HEADER_BYTES, pathEnd).toString();
  const data = record.subarray(pathEnd);
  switch (kind) {
    case 'create':
    case 'open':
      return { at, kind, file, path };
    case 'truncate':
      return { at, kind, file, size: Number(number) };
    case 'write':
      return { at, kind, file, offset: Number(number), data };
    case 'content':
      return { at, kind, file, data };
    case 'sync-begin':
    case 'sync-end':
      return { at, kind, file, sync: number, path };
    case 'rename':
      return { at, kind, path, to: data.toString() };
    case 'unlink':
      return { at, kind, path };
    case 'reply':
      return { at, kind, head: data.toString('latin1') };
    case 'none':
      throw new Error('a record of no known kind');
  }
}
