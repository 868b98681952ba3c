import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The environment in which the project's own Node and tools come first, as they do in an npm script. */
export const TOOL_ENV: NodeJS.ProcessEnv = {
  ...process.env,
  PATH: [join(ROOT, 'node_modules/.bin'), process.env['PATH']].join(delimiter),
};

/**
 * Runs a command of the project in its folder and waits for it.
 * @returns its exit code and, unless `stdio` says otherwise, what it wrote; 127 when there is no such command
 */
export function run(
  command: string,
  args: readonly string[],
  options: SpawnSyncOptions = {},
): { code: number; output: string } {
  const child = spawnSync(command, args, { cwd: ROOT, env: TOOL_ENV, encoding: 'utf8', ...options });
  if (child.error) return { code: 127, output: `${command}: ${child.error.message}\n` };
  return { code: child.status ?? 1, output: `${child.stdout?.toString() ?? ''}${child.stderr?.toString() ?? ''}` };
}
