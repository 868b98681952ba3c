import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, lastLine, PeerMissing } from './cache.ts';

const BUILD_MS = 900_000;

interface GoPeer {
  module: string;
  version: string;
  program: string;
}

export const GO_PEERS = {
  faktory: {
    module: 'github.com/contribsys/faktory',
    version: 'v1.9.3',
    program: 'github.com/contribsys/faktory/cmd/faktory',
  },
  lmstfy: {
    module: 'github.com/bitleak/lmstfy',
    version: 'v1.0.15',
    program: 'github.com/bitleak/lmstfy/server',
  },
} as const satisfies Record<string, GoPeer>;

export type GoPeerName = keyof typeof GO_PEERS;

/**
 * Builds a peer from its Go module, outside of the project, and answers the path of its program. The second time
 * it is there already. It is built as the one requirement of an empty module, because that asks the module proxy for
 * nothing but this version.
 * @param build whether to build it when that has not been done; it takes a minute or two
 * @throws PeerMissing when Go is not installed or the module cannot be had
 */
export function buildGoPeer(name: GoPeerName, build: boolean): string {
  const { module, version, program } = GO_PEERS[name];
  const folder = cacheFolder(`go-${name}-${version}`);
  const path = join(folder, name);
  if (existsSync(path)) return path;
  if (!build)
    throw new PeerMissing(`${name} ${version} has not been built yet: a whole run (without --quick) builds it`);
  if (spawnSync('go', ['version']).status !== 0) {
    throw new PeerMissing(`${name} ${version} needs Go to be built, and there is no "go" on the PATH`);
  }
  writeFileSync(join(folder, 'go.mod'), `module bench\n\ngo 1.24\n\nrequire ${module} ${version}\n`);
  const go = spawnSync('go', ['build', '-mod=mod', '-o', path, program], {
    cwd: folder,
    encoding: 'utf8',
    timeout: BUILD_MS,
    env: { ...process.env, GOTOOLCHAIN: 'local', GOWORK: 'off', CGO_ENABLED: '0' },
  });
  if (go.status !== 0) {
    throw new PeerMissing(`${name} ${version} could not be built: ${go.error?.message ?? lastLine(go.stderr)}`);
  }
  return path;
}
