import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Why a peer cannot be compared with; the message is the line that says so in the report. */
export class PeerMissing extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PeerMissing';
  }
}

/** A folder outside of the project that outlasts runs, so that peers are fetched and built once. */
export function cacheFolder(name: string): string {
  const folder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'lessor-bench', name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** The line of a command's output that says most about its failure. */
export function lastLine(output: string): string {
  return output.trim().split('\n').at(-1)?.trim() ?? '';
}
