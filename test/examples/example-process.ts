import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));

/** By file name extension: what runs it. */
const INTERPRETERS: Record<string, string> = { sh: 'bash', py: 'python3', mjs: process.execPath };

export interface ExampleProcess {
  readonly pid: number;
  signal(signal: NodeJS.Signals): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; output: string }>;
}

/** Examples that run; a test process that ends early takes them along. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts a program of examples/, as a person would who talks to the broker at `url`. */
export function startExample(
  file: string,
  url: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): ExampleProcess {
  const interpreter = INTERPRETERS[file.slice(file.lastIndexOf('.') + 1)] ?? file;
  const child = spawn(interpreter, [EXAMPLES + file, ...args], {
    env: { PATH: process.env['PATH'], PYTHONDONTWRITEBYTECODE: '1', BROKER_URL: url, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  return {
    pid: child.pid ?? 0,
    signal: (signal) => child.kill(signal),
    ended: once(child, 'close').then(() => ({ code: child.exitCode, signal: child.signalCode, output })),
  };
}
