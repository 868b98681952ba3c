import { existsSync } from 'node:fs';
import { run } from './tools.ts';

/** What of Debian has each program that is not in a package of its own name alone. */
const PACKAGES: Record<string, readonly string[]> = { gcc: ['gcc', 'libc6-dev'] };
/** What Homebrew has each program in, where it differs. */
const FORMULAE: Record<string, string> = { 'redis-server': 'redis' };

/**
 * Sees that programs are on the PATH, and installs those that are not where it can: as root on Debian.
 * @param purpose what for, in the message: "to …"
 * @throws Error that says how to get them
 */
export function ensurePrograms(purpose: string, programs: readonly string[]): void {
  // LibreSSL, which macOS has, knows no option of that name.
  const missing = programs.filter(
    (program) => run(program, [program === 'openssl' ? 'version' : '--version']).code !== 0,
  );
  if (missing.length === 0) return;
  const names = missing.flatMap((program) => PACKAGES[program] ?? [program]);
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    console.log(`Installing ${names.join(' ')} with apt-get.`);
    // RUNLEVEL=1: only the programs are wanted, no server that runs on.
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
    const update = run('apt-get', ['update', '-q'], { env });
    const install = run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...names], { env });
    if (install.code === 0) return;
    console.error(update.output + install.output);
  }
  const formulae = missing.map((program) => FORMULAE[program] ?? program);
  throw new Error(
    `${missing.join(' and ')} must be on the PATH ${purpose}: ` +
      `"sudo apt-get install ${names.join(' ')}" on Debian and Ubuntu, "brew install ${formulae.join(' ')}" on macOS.`,
  );
}
