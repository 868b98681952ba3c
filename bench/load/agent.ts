import { type Agent, serve, startAgent } from '../process/agent.ts';
import type { LaunchOptions } from '../process/launch.ts';
import { batches } from './batches.ts';
import { cycles } from './cycles.ts';
import { kill } from './kill.ts';
import { lateness } from './lateness.ts';
import { park, parkedNow, unpark } from './parking.ts';
import { startProbe, stopProbe } from './probe.ts';
import { redisFloor } from './redis-floor.ts';
import { seed } from './seed.ts';
import { wakeUps } from './wake-ups.ts';

const operations = {
  ...{ batches, cycles, kill, lateness, park, parkedNow, redisFloor, seed, startProbe, stopProbe, unpark, wakeUps },
};

export type Load = Agent<typeof operations>;

/** Starts a load generator: this file, as a process of its own. */
export function startLoad(options: LaunchOptions = {}): Promise<Load> {
  return startAgent<typeof operations>(new URL(import.meta.url), [], options);
}

if (import.meta.main) serve(operations);
