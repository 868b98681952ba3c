import { type FailoverDurability, failoverLoss } from './failover-loss.ts';
import { type FailoverScene, openCluster, openSentinel } from './scene.ts';

/** What failovers to replicas that had been cut off have come to. */
export interface FailoverResult {
  topology: string;
  durability: FailoverDurability;
  runs: number;
  /** Enqueues and acks that were answered 2xx before, during and after them. */
  answered: number;
  /** Of those: tasks that there are no more, and acks of tasks that are not completed. */
  lostTasks: number;
  lostAcks: number;
  /** Calls that were answered 5xx or not at all, and made again. */
  unknown: number;
  /** Why it has not passed; empty when it has. */
  failures: readonly string[];
}

const TOPOLOGIES: readonly { topology: string; open: () => Promise<FailoverScene> }[] = [
  { topology: 'Sentinel', open: openSentinel },
  { topology: 'Cluster', open: openCluster },
];
const DURABILITIES = ['default', 'replicated:1'] as const;
/** Outcomes while replicas are cut off. With WAIT they take their time, and Sentinel promotes nobody who was cut off for 20 s. */
const DURING: Record<(typeof DURABILITIES)[number], number> = { default: 48, 'replicated:1': 8 };
const FULL = 5;
const SHORT = 1;

/** Failovers to replicas that were cut off, without WAIT, where a loss has to be seen, and with it, where nothing may be lost. */
export async function proveFailovers(options: {
  full: boolean;
  say: (line: string) => void;
}): Promise<FailoverResult[]> {
  const runs = options.full ? FULL : SHORT;
  const results: FailoverResult[] = [];
  for (const { topology, open } of TOPOLOGIES) {
    for (const durability of DURABILITIES) {
      const result = await proveOne(open, topology, durability, runs);
      results.push(result);
      const { answered, lostTasks, lostAcks, unknown, failures } = result;
      const told = `${runs} failovers, ${answered} answers, ${lostTasks} tasks and ${lostAcks} acks lost, ${unknown} calls unknown`;
      options.say(`${topology}, ${durability}: ${failures.length === 0 ? 'good' : 'BROKEN'}, ${told}`);
      for (const failure of failures) options.say(`  ${failure}`);
    }
  }
  return results;
}

async function proveOne(
  open: () => Promise<FailoverScene>,
  topology: string,
  durability: (typeof DURABILITIES)[number],
  runs: number,
): Promise<FailoverResult> {
  const sums = { answered: 0, lostTasks: 0, lostAcks: 0, unknown: 0 };
  const failures: string[] = [];
  for (let run = 1; run <= runs; run++) {
    const scene = await open();
    const { enqueued, acked, lostTasks, lostAcks, lostLeases, unknown, surplus } = await failoverLoss({
      ...{ scene, durability, during: DURING[durability] },
    }).finally(() => scene.stop());
    sums.answered += enqueued + acked;
    sums.lostTasks += lostTasks;
    sums.lostAcks += lostAcks;
    sums.unknown += unknown;
    if (durability === 'default') continue;
    if (lostTasks + lostAcks > 0) failures.push(`run ${run}: ${lostTasks} tasks and ${lostAcks} acks were lost`);
    if (lostLeases > 0) failures.push(`run ${run}: ${lostLeases} leases were lost`);
    if (surplus > 0) failures.push(`run ${run}: ${surplus} tasks are there twice`);
    if (unknown === 0) failures.push(`run ${run}: no call met the failover, so that this run proves nothing`);
  }
  if (durability === 'default' && sums.lostTasks + sums.lostAcks === 0)
    failures.push('no loss was seen where one has to be');
  return { topology, durability, runs, ...sums, failures };
}
