import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const START_TIMEOUT_MS = 20_000;

export interface LessorOptions {
  /** The working directory, which holds lessor.json and the default store. */
  dir: string;
  /** All of the environment but PATH. LESSOR_PORT is 0 when left out: any free port. */
  env?: Readonly<Record<string, string>>;
  args?: readonly string[];
  /** Options of Node.js itself. */
  nodeArgs?: readonly string[];
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A broker that listens. */
export interface LessorProcess {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly stderr: string;
  readonly stdout: string;
  signal(signal: NodeJS.Signals): void;
  /** Closes the read ends of stdout and stderr. */
  stopReading(): void;
  /** Resolves when the process has ended. */
  readonly ended: Promise<Ended>;
  /** SIGTERM, and the end. Does nothing more when it has ended. */
  stop(): Promise<Ended>;
}

/** Processes that run; a test that fails leaves none behind, nor does a test process that ends early. */
const running = new Set<ChildProcess>();
const killAll = (): void => {
  for (const child of running) child.kill('SIGKILL');
};
after(killAll);
process.on('exit', killAll);

/** Makes a temporary folder; `remove` deletes it. */
export function temporaryFolder(): { dir: string; remove(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'lessor-process-'));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

/** Runs the real process until it ends by itself, or by what `whileRunning` does to it. */
export async function runLessor(
  options: LessorOptions,
  whileRunning: (signal: (signal: NodeJS.Signals) => void) => Promise<void> = async () => {},
): Promise<Ended> {
  const { child, ended } = launch(options);
  await whileRunning((signal) => child.kill(signal));
  return ended;
}

/** Starts the real process; resolves when its banner says that it listens. */
export async function startLessor(options: LessorOptions): Promise<LessorProcess> {
  const { child, output, ended } = launch(options);
  const url = await new Promise<string>((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`lessor ${why}:\n${output.stdout}${output.stderr}`));
    const timer = setTimeout(() => fail('did not start'), START_TIMEOUT_MS);
    child.stderr?.on('data', () => {
      const listening = /API +(http:\S+)[^]*\/ack/.exec(output.stderr);
      if (listening?.[1] === undefined) return;
      clearTimeout(timer);
      resolve(listening[1]);
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      fail(`ended with ${code} at its start`);
    });
  });
  return {
    url,
    port: Number(new URL(url).port),
    pid: child.pid ?? 0,
    get stderr() {
      return output.stderr;
    },
    get stdout() {
      return output.stdout;
    },
    signal: (signal) => child.kill(signal),
    stopReading() {
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
    ended,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      return ended;
    },
  };
}

function launch({ dir, env = {}, args = [], nodeArgs = [] }: LessorOptions): {
  child: ChildProcess;
  output: { stdout: string; stderr: string };
  ended: Promise<Ended>;
} {
  const child = spawn(process.execPath, [...nodeArgs, MAIN, ...args], {
    cwd: dir,
    env: { PATH: process.env['PATH'], LESSOR_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output.stderr += chunk));
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, signal: child.signalCode, ...output }));
  return { child, output, ended };
}
