import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { GO_PEERS } from './peers/go-peers.ts';
import { npmPeerVersions } from './peers/npm-peers.ts';
import { temporaryIsMemory } from './process/folder.ts';

const GIB = 1024 ** 3;

/** What figures were taken on; they are compared with nothing that was taken elsewhere. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGib: number;
  kernel: string;
  /** What temporary files are on. */
  files: 'disk' | 'memory';
  node: string;
  redis: string;
  peers: Record<string, string>;
}

export async function describeMachine(): Promise<Machine> {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / GIB),
    kernel: release(),
    files: (await temporaryIsMemory()) ? 'memory' : 'disk',
    node: process.versions.node,
    redis: redisVersion(),
    peers: {
      ...npmPeerVersions(),
      ...Object.fromEntries(Object.entries(GO_PEERS).map(([name, { version }]) => [name, version])),
    },
  };
}

/** Why nothing can be measured here, in one line; null when it can. */
export function unfit(): string | null {
  if (!existsSync('/proc/self/stat')) return 'the bench reads CPU times from /proc and so needs Linux';
  if (redisVersion() === '')
    return 'the bench needs redis-server on the PATH: apt-get install redis-server, or your package manager';
  return null;
}

/** What others have been doing here for the last minute: above half a core, figures suffer. */
export function busyBefore(): number {
  return loadavg()[0] ?? 0;
}

function redisVersion(): string {
  return /v=(\S+)/.exec(spawnSync('redis-server', ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1] ?? '';
}
