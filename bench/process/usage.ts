import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks per second, the unit of CPU times in /proc. */
const TICKS_PER_SECOND = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100;

/** CPU time in ms that all threads of a process have used since it started; steps of one clock tick. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name in parentheses may hold anything; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [utime = 0, stime = 0] = fields.slice(11, 13).map(Number);
  return ((utime + stime) * 1000) / TICKS_PER_SECOND;
}

/** How long the main thread of a process has stood ready while something else had its core, in ms. */
export function waitedMs(pid: number): number {
  const [, waited = 0] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ').map(Number);
  return waited / 1e6;
}

/** Resident memory of a process in bytes. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return Number(kib) * 1024;
}

/** Files, sockets included, that a process has open. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** How much of one core processes use over a while, in percent. */
export async function cpuPercent(pids: readonly number[], wait: () => Promise<unknown>): Promise<number[]> {
  const start = performance.now();
  const before = pids.map(cpuMs);
  await wait();
  const elapsed = performance.now() - start;
  return pids.map((pid, index) => (100 * (cpuMs(pid) - (before[index] ?? 0))) / elapsed);
}
