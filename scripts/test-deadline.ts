/**
 * Preloaded into every test file: `--test-timeout` bounds each test, not a file whose tests have all ended but that
 * something keeps alive, so a whole file gets a deadline here.
 */
const FILE_TIMEOUT_MS = 240_000;

// Set in the processes that run a file, not in the one that runs them all.
if (process.env['NODE_TEST_CONTEXT'] !== undefined) {
  setTimeout(() => {
    console.error(`${process.argv[1]} was still running after ${FILE_TIMEOUT_MS / 1000} s.`);
    process.exit(1);
  }, FILE_TIMEOUT_MS).unref();
}
