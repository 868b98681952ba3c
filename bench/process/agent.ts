import { type LaunchOptions, type Launched, launch } from './launch.ts';

/** What an agent can do, by name. */
export type Operations = Record<string, (args: never) => unknown>;

interface Call {
  id: number;
  operation: string;
  args: unknown;
}

type Answer = { id: number; result: unknown } | { id: number; error: string };

/** In the agent's process: carries out what it is asked. Ends with the process that started it. */
export function serve(operations: Operations): void {
  process.on('disconnect', () => process.exit(0));
  process.on('message', ({ id, operation, args }: Call) => {
    const answer = (message: Answer): void => {
      if (process.connected) process.send?.(message);
    };
    Promise.resolve()
      .then(() => operations[operation]?.(args as never))
      .then(
        (result) => answer({ id, result }),
        (error: unknown) =>
          answer({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
  });
}

/** A process of its own that carries out operations, such as load, so that what is measured is not disturbed. */
export class Agent<Ops extends Operations> {
  readonly process: Launched;
  readonly #calls = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  #lastId = 0;

  constructor(launched: Launched) {
    this.process = launched;
    launched.child.on('message', (answer: Answer) => {
      const call = this.#calls.get(answer.id);
      this.#calls.delete(answer.id);
      if ('error' in answer) call?.reject(new Error(answer.error));
      else call?.resolve(answer.result);
    });
    launched.child.once('exit', (code) => {
      for (const { reject } of this.#calls.values()) {
        reject(new Error(`the agent ended with ${code}:\n${launched.output}`));
      }
    });
  }

  call<Name extends keyof Ops & string>(
    operation: Name,
    args: Parameters<Ops[Name]>[0],
  ): Promise<Awaited<ReturnType<Ops[Name]>>> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve: (result) => resolve(result as Awaited<ReturnType<Ops[Name]>>), reject });
      this.process.child.send({ id, operation, args } satisfies Call, (error) => {
        if (error) reject(error);
      });
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.process.stop();
  }
}

/** Starts an agent: a program that calls {@link serve}. */
export async function startAgent<Ops extends Operations>(
  program: URL,
  args: readonly string[] = [],
  options: LaunchOptions = {},
): Promise<Agent<Ops>> {
  const command = [process.execPath, program.pathname, ...args];
  return new Agent<Ops>(await launch('load generator', command, { ...options, ipc: true }));
}
