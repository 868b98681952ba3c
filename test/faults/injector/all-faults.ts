import { brokerFreeze, brokerKill } from './broker-faults.ts';
import { clockAhead, clockBehind } from './clock-faults.ts';
import type { Fault } from './fault.ts';
import { clientKill, functionFlush, redisFreeze, redisKill, redisOutage } from './redis-faults.ts';
import { rollingRestart } from './rolling-restart.ts';
import { workerFreeze, workerKill } from './worker-faults.ts';

/** Every fault that is known. A new one is one file and one line here. */
export const FAULTS: readonly Fault[] = [
  workerKill,
  workerFreeze,
  brokerKill,
  brokerFreeze,
  redisKill,
  redisFreeze,
  redisOutage,
  functionFlush,
  clientKill,
  clockAhead,
  clockBehind,
  rollingRestart,
];
