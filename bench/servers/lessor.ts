import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Launched, launch } from '../process/launch.ts';
import { cpuMs, residentBytes } from '../process/usage.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const GC_ON_SIGNAL = fileURLToPath(new URL('gc-on-signal.ts', import.meta.url));

/** What one round frees may be what the next one can collect; the heap shrinks a little later. */
const GC_ROUNDS = 3;
const GC_MS = 700;

export interface LessorOptions {
  /** As `--store` takes it. */
  store: string;
  durability?: 'full' | 'normal';
  cores?: string | null;
  openFiles?: number;
  /** Whether {@link settledMemory} can be asked of it. */
  collectable?: boolean;
  env?: Record<string, string>;
}

/** A broker, started as users start it. */
export interface Lessor {
  process: Launched;
  pid: number;
  port: number;
  url: string;
  /** From the start of the process until it listens. */
  startMs: number;
  /** CPU that it has used until then, in ms. */
  startCpuMs: number;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startLessor(options: LessorOptions): Promise<Lessor> {
  const { store, durability, cores, openFiles, collectable = false, env = {} } = options;
  const flags = ['--store', store, '--port', '0', ...(durability === undefined ? [] : ['--durability', durability])];
  const start = performance.now();
  const command = [process.execPath, ...(collectable ? gcFlags() : []), MAIN, ...flags];
  const launched = await launch('lessor', command, { cores, openFiles, env });
  const [, url = '', port = ''] = await launched.said(/API\s+(http:\/\/127\.0\.0\.1:(\d+))/);
  return {
    process: launched,
    pid: launched.pid,
    port: Number(port),
    url,
    startMs: performance.now() - start,
    startCpuMs: cpuMs(launched.pid),
    [Symbol.asyncDispose]: () => launched.stop(),
  };
}

/** Flags with which a Node process collects its garbage on SIGUSR2. */
export function gcFlags(): string[] {
  return ['--expose-gc', '--import', GC_ON_SIGNAL];
}

/** Resident memory, in bytes, of a process that runs with {@link gcFlags}: what it needs, without its garbage. */
export async function settledMemory(launched: Launched): Promise<number> {
  for (let round = 0; round < GC_ROUNDS; round++) {
    launched.child.kill('SIGUSR2');
    await sleep(GC_MS);
  }
  return residentBytes(launched.pid);
}
