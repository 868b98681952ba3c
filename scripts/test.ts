/**
 * npm test [-- FILE… OPTION…]: all tests, or those of the files named. Options go to `node --test`; write those
 * that take a value with an equals sign (--test-name-pattern=lease).
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ROOT, run } from './tools.ts';

const TEST_TIMEOUT_MS = 120_000;

ensurePrograms();
const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith('-'));
const files = args.filter((arg) => !arg.startsWith('-'));
const { code } = run(
  process.execPath,
  [
    '--import',
    './scripts/test-deadline.ts',
    '--test',
    `--test-concurrency=${Math.max(2, availableParallelism())}`,
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    ...options,
    ...(files.length > 0 ? files : ['test/**/*.test.ts']),
  ],
  { stdio: 'inherit', cwd: ROOT },
);
process.exit(code);

/** The tests start real Redis servers, make certificates and run the examples in their languages: these programs must be there. */
function ensurePrograms(): void {
  const programs = ['redis-server', 'curl', 'python3', 'openssl'];
  const missing = programs.filter((program) => {
    // LibreSSL, which macOS has, knows no option of that name.
    return run(program, [program === 'openssl' ? 'version' : '--version']).code !== 0;
  });
  if (missing.length === 0) return;
  const names = missing.join(' ');
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    console.log(`Installing ${names} with apt-get.`);
    // RUNLEVEL=1: only the programs are wanted, no server that runs on.
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
    const update = run('apt-get', ['update', '-q'], { env });
    const install = run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...missing], { env });
    if (install.code === 0) return;
    console.error(update.output + install.output);
  }
  console.error(
    `The tests need ${names} on the PATH: "sudo apt-get install ${names}" on Debian and Ubuntu, ` +
      `"brew install ${names.replace('redis-server', 'redis')}" on macOS.`,
  );
  process.exit(1);
}
