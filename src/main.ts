#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { enableCompileCache, findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';
import type { Command } from './command.ts';
import type { Config, ConfigInput } from './config.ts';

/**
 * A Ctrl-C under npm arrives twice: from the terminal, and from npm, which passes on its own. The second of two
 * SIGINT counts as one more only after this time.
 */
const SAME_CTRL_C_MS = 150;

const FATAL_HINT =
  'A fault of Lessor: the process stops, and whatever supervises it should start it again. What was stored is safe, ' +
  'and tasks that are leased stay with their workers. Please report this line.';

/**
 * Has Node keep what it makes of the source files, so that the next start need not compile them again. That is
 * why everything else is imported after this, and only from within functions. It is kept inside the installation
 * and nowhere that others may write, because it is run as code. Where it cannot be kept the start only takes longer.
 */
function keepCompiledCode(): void {
  const manifest = findPackageJSON(import.meta.url);
  if (manifest === undefined) return;
  enableCompileCache({ directory: join(dirname(manifest), 'node_modules/.cache/lessor'), portable: true });
}

async function openFilesLimit(): Promise<number | null> {
  const { parseOpenFilesLimit } = await import('./startup/open-files.ts');
  try {
    return parseOpenFilesLimit(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    // Not Linux.
    return null;
  }
}

/** One line for people on stderr; the log goes to stdout. */
function say(line: string): void {
  process.stderr.write(`lessor: ${line.replaceAll(/\s+/g, ' ')}\n`);
}

async function main(): Promise<void> {
  // A reader of stderr that goes away must not take the broker along.
  process.stderr.on('error', () => {});
  keepCompiledCode();
  const argv = process.argv.slice(2);
  const input = { argv, env: process.env, readFile: (path: string) => readFileSync(path, 'utf8') };
  if (argv[0] === 'doctor' || argv[0] === 'backup') return runCommand(argv[0], { ...input, argv: argv.slice(1) });
  const { readVersion } = await import('./startup/version.ts');
  const { loadConfig } = await import('./config.ts');
  const version = readVersion();
  const loaded = loadConfig(input);
  switch (loaded.outcome) {
    case 'help': {
      const { helpText } = await import('./startup/settings.ts');
      process.stdout.write(helpText(version));
      return;
    }
    case 'version':
      process.stdout.write(`${version}\n`);
      return;
    case 'refused':
      for (const error of loaded.errors) say(error);
      process.exitCode = 1;
      return;
    case 'loaded':
      return run(loaded.config, version);
  }
}

/** Something else than a broker: it says what it has to say, and ends. */
async function runCommand(command: Command, input: ConfigInput): Promise<void> {
  const { runCommand: toItsEnd } = await import('./command.ts');
  const { text, faults, exitCode } = await toItsEnd(command, input);
  process.stdout.write(text);
  for (const fault of faults) say(fault);
  process.exitCode = exitCode;
}

async function run(config: Config, version: string): Promise<void> {
  const { createLog } = await import('./telemetry/log.ts');
  const log = await createLog(config.logLevel, process.stdout.isTTY);
  process.on('uncaughtException', (error, origin) => {
    log.fatal({ err: error, origin }, FATAL_HINT);
    say(`stopped by a fault of its own (${error instanceof Error ? error.message : String(error)}); the log has more`);
    process.exit(1);
  });

  const { createApp, isRefusal } = await import('./app.ts');
  const { isLoopback } = await import('./config.ts');
  const { bannerText } = await import('./startup/banner.ts');
  const app = createApp(config, { log, version, openFiles: await openFilesLimit() });
  let listening = false;
  let stopping: { signal: NodeJS.Signals; at: number } | null = null;

  const onSignal = (signal: NodeJS.Signals): void => {
    if (!listening) process.exit(0);
    if (stopping !== null) {
      const again = performance.now() - stopping.at;
      if (signal === 'SIGINT' && stopping.signal === 'SIGINT' && again < SAME_CTRL_C_MS) return;
      say(`stopped at once by a second signal (${signal}); requests under way were cut off`);
      process.exit(1);
    }
    stopping = { signal, at: performance.now() };
    setTimeout(() => {
      say(
        `stopped hard: not drained ${config.shutdownMs} ms after ${signal} (LESSOR_SHUTDOWN_MS), ` +
          `${app.connections()} connections were cut off`,
      );
      process.exit(1);
    }, config.shutdownMs);
    log.info(`${signal}: draining for at most ${config.shutdownMs} ms; a second signal stops at once`);
    app.stop().then(
      () => {
        log.info('drained and stopped');
        process.exit(0);
      },
      (error: unknown) => {
        log.error({ err: error }, 'drained, but not everything could be closed; what was acknowledged is stored');
        say('drained, but not everything could be closed; the log has more');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);

  try {
    const { url, store } = await app.listen();
    listening = true;
    process.stderr.write(bannerText({ version, url, store, exposed: !isLoopback(config.host) }));
    log.info({ url, durability: store.durability }, 'listening');
  } catch (error) {
    if (!isRefusal(error)) throw error;
    say(error.message);
    process.exit(1);
  }
}

await main();
