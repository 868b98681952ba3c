import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheFolder, lastLine, PeerMissing } from './cache.ts';

const INSTALL_MS = 300_000;
const FILES = ['package.json', 'package-lock.json'] as const;

/** Peers that are npm packages, as they were installed. */
export interface NpmPeers {
  folder: string;
  versions: Record<string, string>;
}

/**
 * Installs the peers that are npm packages, exactly as the lock file beside this file says, outside of the project.
 * @throws PeerMissing when they cannot be had
 */
export function installNpmPeers(): NpmPeers {
  const sources = FILES.map((file) => new URL(file, import.meta.url));
  const digest = createHash('sha256');
  for (const source of sources) digest.update(readFileSync(source));
  const folder = cacheFolder(`npm-${digest.digest('hex').slice(0, 12)}`);
  const done = join(folder, 'installed');
  if (!existsSync(done)) {
    for (const [index, source] of sources.entries()) copyFileSync(source, join(folder, FILES[index] ?? ''));
    // Not `npm ci`: that wants packages for every other platform in the lock file too.
    const npm = spawnSync('npm', ['install', '--no-audit', '--no-fund'], {
      cwd: folder,
      encoding: 'utf8',
      timeout: INSTALL_MS,
    });
    if (npm.status !== 0) {
      const reason = npm.error?.message ?? lastLine(npm.stderr);
      throw new PeerMissing(`npm packages of bench/peers could not be installed: ${reason}`);
    }
    writeFileSync(done, '');
  }
  return { folder, versions: npmPeerVersions() };
}

/** The versions that are installed when they are needed. */
export function npmPeerVersions(): Record<string, string> {
  const manifest = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  return manifest.dependencies;
}

/** Loads a package from where {@link installNpmPeers} has put it. */
export async function importPeer(folder: string, name: string): Promise<unknown> {
  return import(pathToFileURL(createRequire(join(folder, 'package.json')).resolve(name)).href);
}
