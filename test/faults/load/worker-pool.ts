import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeForTheDead } from '../history/read-history.ts';

const PROGRAM = fileURLToPath(new URL('worker-process.ts', import.meta.url));
const LOOPS = 2;

interface Running {
  name: string;
  history: string;
  child: ChildProcess;
}

/** Workers that are processes of their own. */
export class WorkerPool {
  readonly #urls: readonly string[];
  readonly #dir: string;
  readonly #seed: number;
  readonly #most: number;
  readonly #running: (Running | null)[] = [];
  readonly #histories: string[] = [];
  #born = 0;

  constructor(options: { urls: readonly string[]; dir: string; seed: number; most: number }) {
    this.#urls = options.urls;
    this.#dir = options.dir;
    this.#seed = options.seed;
    this.#most = options.most;
    process.on('exit', this.#killAll);
  }

  get size(): number {
    return this.#running.length;
  }

  /** The histories of all that ever ran, which are whole once those have ended. */
  get histories(): readonly string[] {
    return this.#histories;
  }

  async start(size: number): Promise<void> {
    await Promise.all(Array.from({ length: size }, (_, place) => this.replace(place)));
  }

  /** SIGKILL. What it had under way is left as it is. @returns its name. @throws Error when it had ended by itself */
  async kill(place: number): Promise<string> {
    const { name, child, history } = this.#at(place);
    child.kill('SIGKILL');
    await ended(child);
    if (child.signalCode !== 'SIGKILL') throw endedByItself(name, child);
    closeForTheDead(history, name, 'the parent');
    this.#running[place] = null;
    return name;
  }

  /** Starts another one, with a name of its own. */
  async replace(place: number): Promise<void> {
    const name = `w${++this.#born}`;
    const history = join(this.#dir, `${name}.jsonl`);
    const orders = { name, seed: this.#seed, urls: this.#urls, history, loops: LOOPS, most: this.#most };
    const child = spawn(process.execPath, [PROGRAM, JSON.stringify(orders)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#running[place] = { name, history, child };
    this.#histories.push(history);
    await once(child.stdout, 'data');
  }

  /** SIGSTOP and SIGCONT. @returns its name */
  signal(place: number, signal: 'SIGSTOP' | 'SIGCONT'): string {
    const { name, child } = this.#at(place);
    child.kill(signal);
    return name;
  }

  hurry(): void {
    for (const one of this.#running) one?.child.stdin?.write('hurry\n');
  }

  /** @throws Error when one of them had not ended because it was told to: what it has left undone is the fault of no broker */
  async stop(): Promise<void> {
    await Promise.all(
      this.#running.map(async (one) => {
        if (one === null) return;
        one.child.stdin?.end();
        await ended(one.child);
        closeForTheDead(one.history, one.name, 'the parent');
        if (one.child.exitCode !== 0) throw endedByItself(one.name, one.child);
      }),
    );
    process.off('exit', this.#killAll);
  }

  readonly #killAll = (): void => {
    for (const one of this.#running) one?.child.kill('SIGKILL');
  };

  #at(place: number): Running {
    const one = this.#running[place];
    if (!one) throw new Error(`no worker runs at place ${place}`);
    return one;
  }
}

function endedByItself(name: string, { exitCode, signalCode }: ChildProcess): Error {
  return new Error(`worker ${name} ended by itself (${signalCode ?? `exit code ${exitCode}`}); what it said is above`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}
