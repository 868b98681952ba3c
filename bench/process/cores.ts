import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Which cores the parts of a figure run on, as `taskset -c` takes them; null is "wherever the system likes". */
export interface Cores {
  server: string | null;
  redis: string | null;
  load: string | null;
}

/** Nothing is pinned: servers may use every core, and share them with the load. */
export const ANYWHERE: Cores = { server: null, redis: null, load: null };

/**
 * The server under test on a core of its own; Redis and the load generator on the others, or together on the
 * second where there are two. Nothing is pinned on a single core or without taskset.
 */
export function apart(): Cores {
  const [first, second, ...more] = allowedCores();
  if (first === undefined || second === undefined || !hasTaskset()) return ANYWHERE;
  return { server: `${first}`, redis: `${second}`, load: `${more[0] ?? second}` };
}

/** One line for the report. */
export function describeCores({ server, redis, load }: Cores): string {
  if (server === null) return 'nothing pinned';
  return `pinned: server on core ${server}, Redis on ${redis}, load generator on ${load}`;
}

/** Whether a process may be started that gives way to no other (`first` of LaunchOptions). */
export function mayComeFirst(): boolean {
  return spawnSync('chrt', ['--fifo', '1', 'true'], { stdio: 'ignore' }).status === 0;
}

/** Core numbers that this process may run on, from a list such as `0-3,6`. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return list.split(',').flatMap((range) => {
    const [from = 0, to = from] = range.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

function hasTaskset(): boolean {
  return spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status === 0;
}
