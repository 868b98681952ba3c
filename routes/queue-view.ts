import type { Broker } from '../src/broker/broker.ts';
import { whyIdle } from '../src/domain/flow.ts';
import { toRfc3339 } from '../src/http/time.ts';
import type { QueueRecord } from '../src/store/store.ts';
import type { QueueReply, QueueStatsReply } from './schemas/queue.ts';

/** A queue as it goes over the wire. @param now the store's clock */
export function queueView(broker: Broker, queue: QueueRecord, now: number): QueueReply {
  const waiters = broker.waiters(queue.name);
  return {
    name: queue.name,
    paused: queue.paused,
    createdAt: toRfc3339(queue.createdAt),
    counts: queue.counts,
    backlog: queue.counts.ready + queue.counts.leased,
    waiters,
    why: whyText(queue, waiters, now),
    oldestReadyAgeMs: age(queue.oldestReadyAt, now),
    nextRunAt: queue.nextRunAt === null ? null : toRfc3339(queue.nextRunAt),
    config: queue.config,
    settings: queue.settings,
    totals: queue.totals,
  };
}

function whyText(queue: QueueRecord, waiters: number, now: number): string | null {
  const { maxConcurrency } = queue.config;
  const why = whyIdle({ ...queue, maxConcurrency, waiters }, now);
  return typeof why === 'object' && why !== null ? `scheduled until ${toRfc3339(why.scheduledUntil)}` : why;
}

/** The numbers that autoscalers read: zeros, but for waiters, when there is no such queue yet. */
export function queueStatsView(
  broker: Broker,
  name: string,
  { now, queue }: { now: number; queue: QueueRecord | null },
): QueueStatsReply {
  const waiters = broker.waiters(name);
  if (queue === null) {
    return {
      ready: 0,
      scheduled: 0,
      blocked: 0,
      leased: 0,
      completed: 0,
      dead: 0,
      waiters,
      oldestReadyAgeMs: 0,
      backlog: 0,
    };
  }
  const { ready, scheduled, blocked, leased, completed, dead } = queue.counts;
  return {
    ready,
    scheduled,
    blocked,
    leased,
    completed,
    dead,
    waiters,
    oldestReadyAgeMs: age(queue.oldestReadyAt, now),
    // What is leased counts, so that nobody scales down a worker that is busy with the last task.
    backlog: ready + leased,
  };
}

function age(since: number | null, now: number): number {
  return since === null ? 0 : Math.max(0, Math.round(now - since));
}
