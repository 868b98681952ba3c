/**
 * npm test [-- FILE… OPTION…]: all tests, or those of the files named. Options go to `node --test`; write those
 * that take a value with an equals sign (--test-name-pattern=lease).
 */
import { availableParallelism } from 'node:os';
import { ensurePrograms } from './programs.ts';
import { ROOT, run } from './tools.ts';

const TEST_TIMEOUT_MS = 120_000;

// The tests start real Redis servers, make certificates and run the examples in their languages.
try {
  ensurePrograms('to run the tests', ['redis-server', 'curl', 'python3', 'openssl']);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith('-'));
const files = args.filter((arg) => !arg.startsWith('-'));
const { code } = run(
  process.execPath,
  [
    '--import',
    './scripts/test-deadline.ts',
    '--test',
    // Many tests wait for other processes most of the time.
    `--test-concurrency=${availableParallelism() + 1}`,
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    ...options,
    ...(files.length > 0 ? files : ['test/**/*.test.ts']),
  ],
  { stdio: 'inherit', cwd: ROOT },
);
process.exit(code);
