import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Files, filesWithoutPowerCut } from '../disk/power-cut.ts';
import { type DiskEvent, readRecording } from '../disk/recording.ts';
import type { LoadOptions } from './load.ts';
import type { Account, FoundTask } from './promises.ts';

/** What a load did to a disk and was answered. */
export interface Recording {
  events: readonly DiskEvent[];
  account: Account;
  /** How often what had been gathered in a log was moved to where it belongs, during the load. */
  compactions: number;
}

/** Where tasks are kept, and how well. */
export interface Home {
  name: string;
  /** Whether nothing that was answered may be lost. */
  keepsAll: boolean;
  /** Whether a write of which a part is missing is found out, wherever the gap is. */
  hasChecksums: boolean;
  /** Whether it starts on whatever a cut has left while the store was being made; where not, an operator empties the folder. */
  startsUnmade: boolean;
  /** Runs a load on a fresh store below `folder`. */
  record(folder: string, load: Omit<LoadOptions, 'url' | 'halfway'>): Promise<Recording>;
  /** Starts anew on files that a power cut left in `folder`, and reads all tasks. `torn`: parts of a write may be missing. */
  revive(folder: string, torn: boolean): Promise<{ found: Map<string, FoundTask>; repaired: boolean }>;
}

/**
 * Reads a recording and compares it with the files that its processes left in `root`: anything that they did unseen shows.
 */
export function checkedRecording(log: string, root: string): DiskEvent[] {
  const events = readRecording(log);
  const recorded = filesWithoutPowerCut(events);
  const real = readFiles(root);
  for (const path of new Set([...recorded.keys(), ...real.keys()])) {
    const [one, other] = [recorded.get(path), real.get(path)];
    if (one === undefined || other === undefined || !one.equals(other)) {
      throw new Error(`the recording has missed what was done to ${path} (${one?.length} bytes of ${other?.length})`);
    }
  }
  return events;
}

function readFiles(root: string): Files {
  const files: Files = new Map();
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(root.length + 1), readFileSync(path));
  }
  return files;
}

export function writeFiles(root: string, files: Files): void {
  mkdirSync(root, { recursive: true });
  for (const [path, content] of files) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}
