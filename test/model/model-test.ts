import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import * as fc from 'fast-check';
import { TASK_STATES } from '../../src/domain/task.ts';
import { LEASE_END_RULES, SETTLE_CASES, SETTLE_VERBS } from '../../src/domain/transitions.ts';
import type { OpenStore, StoreHarness } from '../support/store-harness.ts';
import { command } from './commands.ts';
import { Lockstep } from './lockstep.ts';

const SEED = Number(process.env['LESSOR_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const MAX_STEPS = 60;
/** How long a smaller failing sequence is looked for. */
const SHRINK_MS = 30_000;

/** A sample this large must have met every rule; a smaller one, asked for by hand, need not. */
const COVERING_RUNS = 500;

/** One sequence in so many is looked at by a census in the end. */
const EXAMINED = 50;

/** Every rule that sequences must meet: each cell of the settle table, each lease-end rule, each move, and more. */
const MUST_MEET: readonly string[] = [
  ...SETTLE_CASES.flatMap((name) => SETTLE_VERBS.map((verb) => `${name}: ${verb}`)).filter(
    // A heartbeat settles nothing that could be repeated.
    (path) => path !== 'repeated: heartbeat',
  ),
  ...Object.entries(LEASE_END_RULES).flatMap(([end, rules]) => rules.map(({ when }) => `${end}: ${when}`)),
  ...['cancel', 'force', 'redrive', 'remove'].flatMap((verb) => TASK_STATES.map((state) => `${verb}: ${state}`)),
  ...[
    'late: heartbeat beyond the longest run',
    'lease: no room',
    'lease: too soon',
    'lease: past its ttl',
    'lease: same request',
    'sweep: ttl',
    'sweep: due',
    'sweep: lease',
    'sweep: groups',
  ],
  ...[
    'enqueue: key reused',
    'enqueue: queue full',
    'enqueue: same id',
    'enqueue: replay',
    'enqueue: replay of a pruned task',
  ],
  ...['a new task is ready', 'a new task is blocked', 'the next is ready', 'ready, then blocked again'].map(
    (path) => `group: ${path}`,
  ),
  ...['prune: age', 'prune: count', 'prune: age, own'],
  ...[
    'return',
    'reject',
    'replace',
    'replace is of no use',
    'started',
    'the holder was overdue',
    'the time is over',
  ].map((path) => `unique: ${path}`),
  'move: stored',
  ...['refused', 'holds the key again'].map((path) => `unique: redrive ${path}`),
];

/**
 * Registers the comparison of one kind of store with the model, over generated sequences. `LESSOR_SEED` repeats a
 * run, `LESSOR_RUNS` makes it longer.
 * @param sequences how many, when `LESSOR_RUNS` does not say
 */
export function modelTest(harness: StoreHarness, sequences: number): void {
  const runs = Number(process.env['LESSOR_RUNS'] ?? sequences);
  describe(`the model and ${harness.name}`, () => {
    after(() => harness.stop());

    it(`agree after every step of ${runs} sequences (LESSOR_SEED=${SEED})`, async (t) => {
      const met = new Map<string, number>();
      let started = 0;
      let failedAt = Number.POSITIVE_INFINITY;
      let open: OpenStore | null = null;
      try {
        const property = fc.asyncProperty(
          fc.array(command, { maxLength: MAX_STEPS, size: 'max' }),
          async (commands) => {
            if (performance.now() - failedAt > SHRINK_MS) return;
            open ??= await harness.open();
            const store = open;
            started += 1;
            const lockstep = new Lockstep(store, `run${started}`, (path) => met.set(path, (met.get(path) ?? 0) + 1));
            try {
              const examined = started % EXAMINED === 0;
              await lockstep.run(commands, examined);
              if (!examined) return;
              // A census of all that was ever left would take longer each time.
              await store.close();
              open = null;
            } catch (error) {
              failedAt = Math.min(failedAt, performance.now());
              // What is left in the store would spoil the sequences that look for the smallest failure.
              await store.close();
              open = null;
              throw error;
            }
          },
        );
        await fc.assert(property, { numRuns: runs, seed: SEED });
      } finally {
        await (open as OpenStore | null)?.close();
      }
      const rare = [...MUST_MEET].sort((a, b) => (met.get(a) ?? 0) - (met.get(b) ?? 0)).slice(0, 3);
      t.diagnostic(
        `LESSOR_SEED=${SEED}; met least: ${rare.map((path) => `${path} ${met.get(path) ?? 0}×`).join(', ')}`,
      );
      if (runs >= COVERING_RUNS) {
        assert.deepEqual(
          MUST_MEET.filter((path) => !met.has(path)),
          [],
          'rules that no sequence met',
        );
      }
    });
  });
}
