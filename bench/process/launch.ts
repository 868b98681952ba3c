import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a server may take to say that it is ready. */
const START_MS = 60_000;
/** How long a server may take to end when asked; then it is killed. */
const STOP_MS = 10_000;
/** What is kept of a child's output, for messages about its failure. */
const OUTPUT_CHARACTERS = 16_384;

export interface LaunchOptions {
  /** As `taskset -c` takes it; null leaves it to the system. */
  cores?: string | null | undefined;
  /** Whether it gives way to no other process on its cores; see mayComeFirst. */
  first?: boolean | undefined;
  /** The limit of open files. */
  openFiles?: number | undefined;
  env?: Record<string, string>;
  cwd?: string;
  /** Whether the child gets a channel for messages. */
  ipc?: boolean;
}

const running = new Set<Launched>();
process.on('exit', killAll);

/** Ends every child at once; for when nothing is to be saved. */
export function killAll(): void {
  for (const { child } of running) child.kill('SIGKILL');
}

/** Children since the last {@link lastWords}. */
let recent: Launched[] = [];

/** What the children said last that were started since this was asked before; for when something went wrong. */
export function lastWords(): string {
  const words = recent.map(({ name, output }) => `${name}: ${output.trim().split('\n').at(-1) ?? ''}`);
  recent = [];
  return words.join('\n');
}

/** A child process, known by its pid even behind `taskset`, `chrt` and `ulimit`, which hand over to the program. */
export class Launched {
  readonly name: string;
  readonly child: ChildProcess;
  readonly pid: number;
  #output = '';
  #heard = new Set<() => void>();

  constructor(name: string, child: ChildProcess, pid: number) {
    this.name = name;
    this.child = child;
    this.pid = pid;
    const hear = (chunk: string): void => {
      this.#output = (this.#output + chunk).slice(-OUTPUT_CHARACTERS);
      for (const listener of this.#heard) listener();
    };
    child.stdout?.setEncoding('utf8').on('data', hear);
    child.stderr?.setEncoding('utf8').on('data', hear);
    child.once('exit', () => hear(''));
  }

  get output(): string {
    return this.#output;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves with the match once the child has written it. */
  said(pattern: RegExp): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
    const fail = (reason: string): void => reject(new Error(`${this.name} ${reason}:\n${this.#output}`));
    const timer = setTimeout(() => fail(`was not ready within ${START_MS} ms`), START_MS);
    const look = (): void => {
      const match = pattern.exec(this.#output);
      if (match) resolve(match);
      else if (this.ended) fail('ended at its start');
    };
    this.#heard.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#heard.delete(look);
    });
  }

  /** Asks it to end, and kills it when it does not. */
  async stop(): Promise<void> {
    if (this.ended) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await Promise.race([exited, sleep(STOP_MS, undefined, { ref: false })]);
    if (this.ended) return;
    this.child.kill('SIGKILL');
    await exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/**
 * Starts a program.
 * @param name what it is called in messages
 * @throws Error when there is no such program
 */
export async function launch(
  name: string,
  command: readonly string[],
  { cores, first = false, openFiles, env, cwd, ipc = false }: LaunchOptions = {},
): Promise<Launched> {
  const limited = openFiles === undefined ? [] : ['sh', '-c', 'ulimit -n "$0" && exec "$@"', String(openFiles)];
  const pinned = cores === undefined || cores === null ? [] : ['taskset', '-c', cores];
  const ahead = first ? ['chrt', '--fifo', '1'] : [];
  const [program = '', ...args] = [...pinned, ...ahead, ...limited, ...command];
  const stdio: StdioOptions = ipc ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'];
  const child = spawn(program, args, { stdio, cwd, env: { ...process.env, ...env } });
  await once(child, 'spawn');
  if (child.pid === undefined) throw new Error(`${name} has no process id`);
  const launched = new Launched(name, child, child.pid);
  running.add(launched);
  recent.push(launched);
  child.once('exit', () => running.delete(launched));
  return launched;
}
