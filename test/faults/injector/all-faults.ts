import { brokerFreeze, brokerKill } from './broker-faults.ts';
import { clockAhead, clockBehind } from './clock-faults.ts';
import { diskFull, diskUnsyncable } from './disk-faults.ts';
import { failoverFaults } from './failover-faults.ts';
import { nodeReplaced, slotsMoved } from './cluster-faults.ts';
import type { Fault } from './fault.ts';
import { networkFaults } from './network-faults.ts';
import { clientKill, functionFlush, redisFreeze, redisKill, redisOutage } from './redis-faults.ts';
import { redisEviction, redisFull, redisLonely, redisMisconfigured, redisReadOnly } from './redis-refusals.ts';
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
  redisFull,
  redisEviction,
  redisMisconfigured,
  redisLonely,
  redisReadOnly,
  ...networkFaults,
  ...failoverFaults,
  slotsMoved,
  nodeReplaced,
  diskFull,
  diskUnsyncable,
];
