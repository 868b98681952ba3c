import { dirname } from 'node:path';
import type { DiskEvent } from './recording.ts';

const SECTOR_BYTES = 512;

/**
 * What becomes of that which was done to the disk and not synced when the power goes: `none` of it is there; all up to some
 * point of it, the last write torn (`prefix`); or `some` of its sectors, whatever their order.
 */
export type Survival = 'none' | 'prefix' | 'some';

type Change =
  | { kind: 'truncate'; size: number }
  | { kind: 'write'; offset: number; data: Buffer }
  | { kind: 'content'; data: Buffer };

/** Names that came to mean a file, another file or none, all at once. */
interface Naming {
  no: number;
  names: readonly (readonly [path: string, file: Journal<Change> | null])[];
}

/** What was done, in order; the entries before `synced` are on the disk for good. */
class Journal<Entry> {
  readonly entries: Entry[] = [];
  synced = 0;
  readonly #underWay = new Map<bigint, number>();

  syncBegins(sync: bigint): void {
    this.#underWay.set(sync, this.entries.length);
  }

  syncEnds(sync: bigint): void {
    this.synced = Math.max(this.synced, this.#underWay.get(sync) ?? 0);
    this.#underWay.delete(sync);
  }
}

type StoredFile = Journal<Change>;
type Folder = Journal<Naming>;

/** Files by path, as they are after the power has come back. */
export type Files = Map<string, Buffer>;

/**
 * The files of an honest disk that lost its power after `events`, which begin with an empty folder.
 *
 * Of a file, all is there that was done to it before a sync began that has ended; of a folder, all names that were made, moved or
 * removed in it, likewise. Of what came later, `survival` decides, file by file and name by name: an honest disk owes
 * nothing more, but it writes no part of a sector and moves a name in one step. Folders last from when they are made.
 *
 * @param random in [0, 1)
 */
export function filesAfterPowerCut(events: readonly DiskEvent[], survival: Survival, random: () => number): Files {
  const { folders } = replay(events);
  const namings = folders.flatMap((folder) => [
    ...folder.entries.slice(0, folder.synced),
    ...surviving(folder.entries.slice(folder.synced), survival, random),
  ]);
  return filesOf(namings, (file) => [
    ...file.entries.slice(0, file.synced),
    ...surviving(file.entries.slice(file.synced).flatMap(sectors), survival, random),
  ]);
}

/** The files as programs see them after `events`: those on the real disk, when the recording has missed nothing. */
export function filesWithoutPowerCut(events: readonly DiskEvent[]): Files {
  const { folders } = replay(events);
  return filesOf(
    folders.flatMap((folder) => folder.entries),
    (file) => file.entries,
  );
}

function replay(events: readonly DiskEvent[]): { folders: Folder[] } {
  const files = new Map<bigint, StoredFile>();
  const names = new Map<string, StoredFile>();
  const folders = new Map<string, Folder>();
  let no = 0;

  const rename = (...changes: (readonly [path: string, file: StoredFile | null])[]): void => {
    for (const [path, file] of changes) {
      if (file === null) names.delete(path);
      else names.set(path, file);
    }
    // The last name is the one whose folder must be synced.
    const folder = dirname(changes.at(-1)?.[0] ?? '');
    folderAt(folder).entries.push({ no: no++, names: changes });
  };
  const folderAt = (path: string): Folder => {
    const known = folders.get(path);
    if (known !== undefined) return known;
    const folder: Folder = new Journal();
    folders.set(path, folder);
    return folder;
  };
  const fileOf = (event: { file: bigint }): StoredFile => {
    const file = files.get(event.file);
    if (file === undefined) throw new Error(`something was done to a file that the recording does not know`);
    return file;
  };

  for (const event of events) {
    switch (event.kind) {
      case 'create': {
        // Numbers of files that are gone are used again.
        const file: StoredFile = new Journal();
        files.set(event.file, file);
        rename([event.path, file]);
        break;
      }
      case 'truncate':
      case 'write':
      case 'content':
        fileOf(event).entries.push(event);
        break;
      case 'sync-begin':
        journalOf(event)?.syncBegins(event.sync);
        break;
      case 'sync-end':
        journalOf(event)?.syncEnds(event.sync);
        break;
      case 'rename':
        rename([event.path, null], [event.to, names.get(event.path) ?? null]);
        break;
      case 'unlink':
        rename([event.path, null]);
        break;
      case 'open':
      case 'reply':
        break;
    }
  }
  return { folders: [...folders.values()] };

  function journalOf(event: { file: bigint; path: string }): Journal<Change> | Journal<Naming> | undefined {
    return folders.get(event.path === '' ? '.' : event.path) ?? files.get(event.file);
  }
}

/** Those of `entries` that were on the disk although nobody had asked for it. */
function surviving<Entry>(entries: readonly Entry[], survival: Survival, random: () => number): Entry[] {
  switch (survival) {
    case 'none':
      return [];
    case 'prefix':
      return entries.slice(0, Math.floor(random() * (entries.length + 1)));
    case 'some': {
      const share = random();
      return entries.filter(() => random() < share);
    }
  }
}

/** A write as writes of one sector each, which are done wholly or not at all. */
function sectors(change: Change): Change[] {
  if (change.kind !== 'write') return [change];
  const pieces: Change[] = [];
  const end = change.offset + change.data.length;
  for (let from = change.offset; from < end; ) {
    const to = Math.min(end, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    pieces.push({
      kind: 'write',
      offset: from,
      data: change.data.subarray(from - change.offset, to - change.offset),
    });
    from = to;
  }
  return pieces;
}

function filesOf(namings: readonly Naming[], changesOf: (file: StoredFile) => readonly Change[]): Files {
  const names = new Map<string, StoredFile>();
  for (const { names: changes } of [...namings].sort((one, other) => one.no - other.no)) {
    for (const [path, file] of changes) {
      if (file === null) names.delete(path);
      else names.set(path, file);
    }
  }
  return new Map([...names].map(([path, file]) => [path, contentAfter(changesOf(file))]));
}

function contentAfter(changes: readonly Change[]): Buffer {
  let bytes = Buffer.alloc(4096);
  let size = 0;
  const reach = (end: number): void => {
    if (end <= bytes.length) return;
    const larger = Buffer.alloc(Math.max(end, 2 * bytes.length));
    bytes.copy(larger, 0, 0, size);
    bytes = larger;
  };
  for (const change of changes) {
    switch (change.kind) {
      case 'truncate':
        reach(change.size);
        if (change.size < size) bytes.fill(0, change.size, size);
        size = change.size;
        break;
      case 'content':
        reach(change.data.length);
        bytes.fill(0, change.data.length, Math.max(size, change.data.length));
        change.data.copy(bytes);
        size = change.data.length;
        break;
      case 'write': {
        const end = change.offset + change.data.length;
        reach(end);
        change.data.copy(bytes, change.offset);
        size = Math.max(size, end);
        break;
      }
    }
  }
  return bytes.subarray(0, size);
}
