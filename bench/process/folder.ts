import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TMPFS = 0x01_02_19_94;

/** A folder of the run's own, on the disk; removed when it is disposed of. */
export class Folder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.path, { recursive: true, force: true });
  }
}

export async function makeFolder(name: string): Promise<Folder> {
  return new Folder(await mkdtemp(join(tmpdir(), `lessor-bench-${name}-`)));
}

/** Whether temporary files are in memory: then nothing here says anything about a disk. */
export async function temporaryIsMemory(): Promise<boolean> {
  return (await statfs(tmpdir())).type === TMPFS;
}
