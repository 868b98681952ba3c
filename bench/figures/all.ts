import type { Figure } from '../figure.ts';
import { bulk } from './bulk.ts';
import { growth } from './growth.ts';
import { cpuPerRequest } from './s1-cpu-per-request.ts';
import { manyQueues } from './s10-many-queues.ts';
import { start } from './s11-start.ts';
import { redisCpu } from './s2-redis-cpu.ts';
import { againstBullMq } from './s3-against-bullmq.ts';
import { againstServers } from './s4-against-servers.ts';
import { parkedPolls } from './s5-parked-polls.ts';
import { wakeUp } from './s6-wake-up.ts';
import { backlog } from './s7-backlog.ts';
import { redisMemory } from './s8-redis-memory.ts';
import { lateTasks } from './s9-lateness.ts';

/** Every figure, in the order of the table. */
export const FIGURES: readonly Figure[] = [
  cpuPerRequest,
  redisCpu,
  againstBullMq,
  againstServers,
  parkedPolls,
  wakeUp,
  backlog,
  redisMemory,
  lateTasks,
  manyQueues,
  start,
  growth,
  bulk,
];
