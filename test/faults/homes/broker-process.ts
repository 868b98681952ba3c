import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../support/free-port.ts';

/** The folder that holds `src/main.ts`. */
export const SOURCE = fileURLToPath(new URL('../../../', import.meta.url));

const START_TIMEOUT_MS = 30_000;
const RESTART_MS = 200;
/** What a broker says that ends because its store did not answer. */
const NOT_NOW = /^lessor: Redis\b/m;
/** What is kept of the output, for the account of a run that failed. */
const OUTPUT_CHARACTERS = 20_000;

export interface BrokerOptions {
  name: string;
  /** What holds the code that runs: {@link SOURCE}, or a changed copy. */
  code: string;
  env: Readonly<Record<string, string>>;
}

/** A broker as a process of its own, on the same port whenever it is started again. */
export class BrokerProcess {
  readonly name: string;
  readonly dir = mkdtempSync(join(tmpdir(), 'lessor-broker-'));
  readonly #options: BrokerOptions;
  readonly #port: number;
  #child: ChildProcess | null = null;
  #output = '';

  private constructor(options: BrokerOptions, port: number) {
    this.name = options.name;
    this.#options = options;
    this.#port = port;
    process.on('exit', this.#atExit);
  }

  static async start(options: BrokerOptions): Promise<BrokerProcess> {
    const broker = new BrokerProcess(options, await freePort());
    await broker.start();
    return broker;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  /** What it said last. */
  get output(): string {
    return this.#output;
  }

  /**
   * Resolves when it listens. One that ends because its store did not answer is started again, as a supervisor would.
   * @param nodeArgs for Node.js itself
   */
  async start(nodeArgs: readonly string[] = []): Promise<void> {
    const until = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        return await this.#startOnce(nodeArgs);
      } catch (error) {
        if (!NOT_NOW.test(String(error)) || performance.now() > until) throw error;
        await sleep(RESTART_MS);
      }
    }
  }

  async #startOnce(nodeArgs: readonly string[]): Promise<void> {
    const { code, env } = this.#options;
    // A changed copy must leave nothing in the cache of the installation.
    const cached = code === SOURCE ? {} : { NODE_DISABLE_COMPILE_CACHE: '1' };
    const child = spawn(process.execPath, [...nodeArgs, join(code, 'src/main.ts')], {
      cwd: this.dir,
      env: { PATH: process.env['PATH'], LESSOR_PORT: String(this.#port), LESSOR_LOG_LEVEL: 'warn', ...cached, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let said = '';
    const fail = (why: string): void => reject(new Error(`broker ${this.name} ${why}:\n${said}`));
    const timer = setTimeout(() => fail('did not start'), START_TIMEOUT_MS);
    const hear = (chunk: string): void => {
      this.#output = (this.#output + chunk).slice(-OUTPUT_CHARACTERS);
      said = (said + chunk).slice(-OUTPUT_CHARACTERS);
      if (/API +http:\S+[^]*\/ack/.test(said)) resolve();
    };
    child.stdout.setEncoding('utf8').on('data', hear);
    child.stderr.setEncoding('utf8').on('data', hear);
    child.once('exit', (exit) => fail(`ended with ${exit} at its start`));
    await promise.finally(() => clearTimeout(timer));
  }

  /** SIGKILL, and its end. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** SIGTERM, and its end once it has drained. */
  terminate(): Promise<void> {
    return this.#end('SIGTERM');
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): void {
    this.#child?.kill(signal);
  }

  /** Ends it, whatever it does, and removes its folder. */
  async stop(): Promise<void> {
    this.signal('SIGCONT');
    await this.kill();
    process.off('exit', this.#atExit);
    rmSync(this.dir, { recursive: true, force: true });
  }

  readonly #atExit = (): void => {
    this.#child?.kill('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  };

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}
