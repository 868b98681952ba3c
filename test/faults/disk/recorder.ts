import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePrograms } from '../../../scripts/programs.ts';

const SOURCE = fileURLToPath(new URL('recorder.c', import.meta.url));

/** What a disk can be made to do: take nothing that makes a file longer or new, or fail to sync. */
export type DiskFault = 'full' | 'unsyncable' | 'none';

const FAULT_LETTERS: Record<DiskFault, string> = { full: 'f', unsyncable: 's', none: '-' };

export interface RecorderOptions {
  /** The folder whose files are recorded or made to fail; it must exist. */
  root?: string;
  /** Where records go; they are not kept when left out. */
  log?: string;
  /** Whether HTTP replies are recorded too. */
  replies?: boolean;
  /** A file that {@link setDiskFault} writes. */
  faultFile?: string;
}

let built: string | null = null;

/**
 * The environment in which a server of this machine runs with the recorder, which is built first. Linux only: it comes between
 * the program and the C library.
 * @throws Error that says what is missing
 */
export function recorderEnv({ root, log, replies, faultFile }: RecorderOptions): Record<string, string> {
  built ??= build();
  return {
    LD_PRELOAD: built,
    ...(root === undefined ? {} : { DISK_ROOT: root }),
    ...(log === undefined ? {} : { DISK_LOG: log }),
    ...(replies ? { DISK_REPLIES: '1' } : {}),
    ...(faultFile === undefined ? {} : { DISK_FAULT: faultFile }),
  };
}

/** Takes effect with the next call that the server makes to its disk. */
export function setDiskFault(faultFile: string, fault: DiskFault): void {
  writeFileSync(faultFile, FAULT_LETTERS[fault]);
}

function build(): string {
  if (process.platform !== 'linux')
    throw new Error('power cuts and failing disks are tested on Linux only; name other homes with --home');
  ensurePrograms('to record what a server does to its disk', ['gcc']);
  const folder = mkdtempSync(join(tmpdir(), 'lessor-recorder-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const library = join(folder, 'recorder.so');
  const { status, stderr } = spawnSync(
    'gcc',
    ['-shared', '-fPIC', '-O2', '-U_FORTIFY_SOURCE', '-o', library, SOURCE, '-ldl'],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`the recorder could not be built:\n${stderr}`);
  return library;
}
