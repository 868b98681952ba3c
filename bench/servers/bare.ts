import { fileURLToPath } from 'node:url';
import { type Launched, launch } from '../process/launch.ts';
import { gcFlags } from './lessor.ts';

const PROGRAM = fileURLToPath(new URL('../baseline/bare-fastify.ts', import.meta.url));

export interface Bare {
  process: Launched;
  pid: number;
  port: number;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The baseline: Fastify alone ({@link PROGRAM}). */
export async function startBare(options: { cores?: string | null; openFiles?: number } = {}): Promise<Bare> {
  const launched = await launch('bare Fastify', [process.execPath, ...gcFlags(), PROGRAM], options);
  const [, port = ''] = await launched.said(/listening on (\d+)/);
  return {
    process: launched,
    pid: launched.pid,
    port: Number(port),
    [Symbol.asyncDispose]: () => launched.stop(),
  };
}
