import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';

/** A real redis-server of a test's own, on loopback. */
export interface RedisServer {
  /** `redis://127.0.0.1:<port>`, the same after a restart. */
  readonly url: string;
  readonly port: number;
  /** Of the process that runs now. */
  readonly pid: number;
  /** Holds the append-only file; removed by `stop`. */
  readonly dir: string;
  /** The end of what it has said, restarts included. */
  readonly output: string;
  /** Ends the server in an orderly way and removes its folder. Does nothing the second time. */
  stop(): Promise<void>;
  /** SIGKILL, as a crash would; the folder stays, for `restart`. */
  kill(): Promise<void>;
  /** SIGSTOP: it holds its connections and answers nothing. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** Starts it again on the same port and folder, after an orderly end when it still runs. */
  restart(): Promise<void>;
}

export interface RedisServerOptions {
  /** Whether it writes an append-only file, synced at every write; off when left out. */
  appendonly?: boolean;
  /** More arguments for redis-server; they come last and win. */
  args?: readonly string[];
  /** Lines of a configuration file that the server may write to. */
  file?: readonly string[];
  /** What it says when it has started. */
  ready?: string;
  /** More of its environment. */
  env?: Readonly<Record<string, string>>;
}

const READY = 'Ready to accept connections';
/** Of Redis, or of Valkey, on which all that is tested here has to hold as well. */
const SERVER = process.env['LESSOR_REDIS_SERVER'] ?? 'redis-server';
const START_TIMEOUT_MS = 20_000;
const PORT_TRIES = 5;
/** What is kept of the output, for the account of a run that failed. */
const OUTPUT_CHARACTERS = 64_000;

/** Servers that run and folders that exist; a test process that ends early takes them along. */
const running = new Set<ChildProcess>();
const folders = new Set<string>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
});

/** Starts a redis-server and resolves when it answers PING. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const dir = await mkdtemp(join(tmpdir(), 'lessor-redis-'));
  folders.add(dir);
  let output = '';
  const hear = (chunk: string): void => {
    output = (output + chunk).slice(-OUTPUT_CHARACTERS);
  };
  const start = (port: number): Promise<ChildProcess> => launch(dir, port, options, hear);

  let port = 0;
  let child: ChildProcess | null = null;
  // Another process may take the port between the look and the start.
  for (let tries = 1; child === null; tries++) {
    port = await freePort();
    try {
      child = await start(port);
    } catch (error) {
      if (tries === PORT_TRIES) {
        await remove(dir);
        throw error;
      }
    }
  }

  let current: ChildProcess = child;
  let stopped = false;
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    dir,
    get pid() {
      return current.pid ?? 0;
    },
    get output() {
      return output;
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      current.kill('SIGCONT');
      await end(current, 'SIGTERM');
      await remove(dir);
    },
    kill: () => end(current, 'SIGKILL'),
    freeze: () => void current.kill('SIGSTOP'),
    thaw: () => void current.kill('SIGCONT'),
    async restart() {
      if (stopped) throw new Error('this redis-server was stopped and its folder is gone');
      await end(current, 'SIGTERM');
      current = await start(port);
    },
  };
}

async function launch(
  dir: string,
  port: number,
  options: RedisServerOptions,
  hear: (chunk: string) => void,
): Promise<ChildProcess> {
  const child = spawn(
    SERVER,
    options.file
      ? [await configFile(dir, port, options.file), ...(options.args ?? [])]
      : [
          ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--daemonize', 'no'],
          ...['--maxmemory-policy', 'noeviction', '--appendonly', options.appendonly ? 'yes' : 'no'],
          ...(options.appendonly ? ['--appendfsync', 'always'] : []),
          ...(options.args ?? []),
        ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } },
  );
  running.add(child);
  child.once('exit', () => running.delete(child));
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', hear);
  try {
    await said(child, options.ready ?? READY);
    await ping(port);
  } catch (error) {
    await end(child, 'SIGKILL');
    throw error;
  }
  // Neither the process nor its output keeps a finished test run alive.
  child.unref();
  for (const stream of [child.stdout, child.stderr]) if (stream instanceof Socket) stream.unref();
  return child;
}

/** Written once: what a server has written there is kept over a restart. */
async function configFile(dir: string, port: number, lines: readonly string[]): Promise<string> {
  const path = join(dir, 'redis.conf');
  if (!existsSync(path))
    await writeFile(path, [`port ${port}`, `bind 127.0.0.1`, `dir ${dir}`, ...lines, ''].join('\n'));
  return path;
}

/** Resolves when the child has written `words`; its output is read on, so that the pipe never fills up. */
function said(child: ChildProcess, words: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = '';
    const timer = setTimeout(() => reject(new Error(`redis-server did not start:\n${output}`)), START_TIMEOUT_MS);
    const fail = (reason: string): void => {
      clearTimeout(timer);
      reject(new Error(`redis-server ${reason}:\n${output}`));
    };
    child.once('error', (error) => fail(`could not be run (${error.message}); is it installed and on the PATH?`));
    child.once('exit', (code) => fail(`ended with ${code} at its start`));
    const hear = (chunk: string): void => {
      output = (output + chunk).slice(-8192);
      if (output.includes(words)) {
        clearTimeout(timer);
        resolve();
      }
    };
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', hear);
  });
}

function ping(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.setTimeout(5000, () => socket.destroy(new Error('redis-server did not answer PING')));
    socket.once('error', reject);
    socket.once('data', (reply) => {
      socket.destroy();
      // One that wants a password first answers too.
      if (/^(\+PONG|-NOAUTH)/.test(reply.toString())) resolve();
      else reject(new Error(`redis-server answered PING with ${reply.toString().trim()}`));
    });
  });
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.ref();
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

async function remove(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  folders.delete(dir);
}
