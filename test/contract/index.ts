import { after, describe, it } from 'node:test';
import type { StoreHarness } from '../support/store-harness.ts';
import { backlog } from './backlog.ts';
import { backoff } from './backoff.ts';
import { batches } from './batches.ts';
import { census } from './census.ts';
import { cancel } from './cancel.ts';
import { concurrency } from './concurrency.ts';
import { countsTotals } from './counts-totals.ts';
import { enqueue } from './enqueue.ts';
import { groups } from './groups.ts';
import { idempotency } from './idempotency.ts';
import { late } from './late.ts';
import { leaseEnds } from './lease-ends.ts';
import { limits } from './limits.ts';
import { leaseOrder } from './lease-order.ts';
import { lease } from './lease.ts';
import { listing } from './listing.ts';
import { payloads } from './payloads.ts';
import { persistence } from './persistence.ts';
import { queues } from './queues.ts';
import { redriveMany } from './redrive-many.ts';
import { redriveTo } from './redrive-to.ts';
import { redriveRemove } from './redrive-remove.ts';
import { replay } from './replay.ts';
import { requestIds } from './request-ids.ts';
import { retention } from './retention.ts';
import { settleTable } from './settle-table.ts';
import { settle } from './settle.ts';
import { sweep } from './sweep.ts';
import { ttl } from './ttl.ts';
import { uniqueTasks } from './unique.ts';
import { type Theme, Workbench } from './workbench.ts';

const THEMES: readonly Theme[] = [
  enqueue,
  idempotency,
  uniqueTasks,
  backlog,
  lease,
  leaseOrder,
  limits,
  groups,
  requestIds,
  settle,
  settleTable,
  leaseEnds,
  late,
  replay,
  backoff,
  batches,
  concurrency,
  cancel,
  redriveRemove,
  redriveMany,
  redriveTo,
  ttl,
  sweep,
  retention,
  queues,
  listing,
  countsTotals,
  payloads,
  persistence,
  census,
];

/** Registers the whole contract for one kind of store. Every rule gets an empty store of its own. */
export function storeContract(harness: StoreHarness): void {
  describe(`the store contract on ${harness.name}`, () => {
    after(() => harness.stop());
    for (const theme of THEMES) {
      describe(theme.name, () => {
        theme.rules((words, check) => {
          it(words, async () => {
            const bench = new Workbench(await harness.open());
            try {
              await check(bench);
            } finally {
              await bench.close();
            }
          });
        });
      });
    }
  });
}
