import * as fc from 'fast-check';
import type { Backoff } from '../../src/domain/backoff.ts';
import { LIMITS } from '../../src/domain/limits.ts';
import type { QueueSettings } from '../../src/domain/queue.ts';
import { TASK_STATES, type TaskState } from '../../src/domain/task.ts';
import type { Unique } from '../../src/domain/unique.ts';
import type { ListQuery } from '../../src/store/store.ts';

/**
 * What a sequence is made of: plain data that says nothing of ids or tokens, which exist only when it runs. A `pick`
 * chooses among the tasks or grants there are by then, the latest first. Times are few and round, so that
 * deadlines, due times and ttls often coincide.
 */
export type Command =
  | { do: 'enqueue' | 'tryEnqueue'; calls: readonly { queue: number; tasks: readonly TaskSpec[] }[] }
  | { do: 'lease'; calls: readonly { queue: number; max: number; leaseMs: number | null; request: string | null }[] }
  | { do: 'recall'; calls: readonly { queue: number; request: string }[] }
  | { do: 'settle'; items: readonly SettleSpec[] }
  | { do: 'cancel'; items: readonly { target: Target; reason: string | null; force: boolean }[] }
  | { do: 'redrive' | 'remove' | 'get'; targets: readonly Target[] }
  | { do: 'advance'; ms: number }
  /** To the moment at which the next thing falls due, or the ttl of a leased task passes, give or take. */
  | { do: 'advanceTo'; what: 'due' | 'ttl'; plus: number; sweep: boolean }
  | { do: 'sweep' }
  | { do: 'pause'; queue: number; paused: boolean }
  | { do: 'configure'; queue: number; settings: QueueSettings; mode: 'replace' | 'merge' }
  | { do: 'purge'; queue: number; state: TaskState; limit: number }
  /** Steps of `limit` to the end, or only as many as `steps` and then a cancel. */
  | {
      do: 'redriveMany';
      queue: number;
      /** The queue they go to, which may be their own. */
      to: number;
      type: string | null;
      errorCode: string | null;
      /** Relative to the moment at which it begins. */
      diedBeforeIn: number | null;
      max: number | null;
      limit: number;
      steps: number | null;
    }
  | { do: 'drop' | 'look'; queue: number }
  | { do: 'list'; queue: number; limit: number; filters: ListFilters; since: number | null; until: number | null }
  | { do: 'reopen' };

/** What a list is of. `since` and `until` beside it are how long ago its tasks were created, at most and more than that. */
type ListFilters = Pick<ListQuery, 'state' | 'type' | 'tag' | 'errorCode' | 'order'>;

/** A task, preferably one such as this; any when there is none. */
export interface Target {
  pick: number;
  among: 'all' | 'leased' | 'ended';
}

export interface TaskSpec {
  /** The id of a task that was stored already. */
  again: number | null;
  type: string | null;
  priority: number;
  delayMs: number | null;
  /** Relative to the moment at which it is stored. */
  runIn: number | null;
  ttlMs: number | null;
  leaseMs: number | null;
  maxAttempts: number | null;
  backoff: Backoff | null;
  key: { key: string; fingerprint: string } | null;
  unique: Unique | null;
  group: string | null;
  retentionMs: number | null;
}

export type SettleSpec = {
  pick: number;
  /** `open`: preferably a grant that is the latest of its task and not settled yet. */
  among: 'all' | 'open';
  /** `other`: that of another grant. */
  token: 'own' | 'other' | 'forged';
} & (
  | { verb: 'ack'; result: string | null }
  | { verb: 'nack'; error: string | null; retryable: boolean; delayMs: number | null; random: number }
  | { verb: 'release'; delayMs: number | null }
  | {
      verb: 'heartbeat';
      leaseMs: number | null;
      maxRuntimeMs: number;
      progress: string | null;
      checkpoint: string | null;
    }
);

/** How many queues a sequence works on. */
export const QUEUES = 3;

/** A value once in `times`, otherwise null: clients leave most of it out. */
const seldom = <Value>(arb: fc.Arbitrary<Value>, times = 4): fc.Arbitrary<Value | null> =>
  fc.oneof({ weight: times - 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: arb });

/** As {@link fc.record}, but objects are such as JSON makes. */
const record = <Shape>(shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> }): fc.Arbitrary<Shape> =>
  fc.record<Shape>(shape, { noNullPrototype: true });

/** As `record`, with any of its parts left out. */
const parts = <Shape>(shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> }) =>
  fc.record<Shape, never>(shape, { requiredKeys: [], noNullPrototype: true });

const queue = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat(QUEUES - 1) });
/** Mostly one of the last few. */
const pick = fc.oneof({ weight: 6, arbitrary: fc.nat(3) }, { weight: 2, arbitrary: fc.nat(40) });
const target = (...among: Target['among'][]): fc.Arbitrary<Target> =>
  record({ pick, among: fc.constantFrom(...among) });
const wait = fc.constantFrom(0, 100, 200, 500);
const lease = fc.constantFrom(100, 200, 300, 1000);
const request = fc.constantFrom('r', 's');
const random = fc.constantFrom(0, 1 / 3, 0.5, 0.999_999);

const backoff: fc.Arbitrary<Backoff> = record({
  type: fc.constantFrom('exponential', 'linear', 'fixed'),
  baseMs: fc.constantFrom(0, 100, 250),
  maxMs: fc.constantFrom(100, 300, 10_000),
  jitter: fc.constantFrom(0, 0.2, 1),
});

const settings: fc.Arbitrary<QueueSettings> = parts({
  leaseMs: lease,
  maxAttempts: fc.constantFrom(1, 2, 3),
  backoff: parts({
    type: fc.constantFrom('exponential', 'linear', 'fixed'),
    baseMs: wait,
    jitter: fc.constantFrom(0, 0.5),
  }),
  maxConcurrency: fc.constantFrom(1, 1, 2),
  rateLimit: record({ limit: fc.constantFrom(1, 2, 3), periodMs: fc.constantFrom(100, 150, 1000) }),
  maxBacklog: fc.constantFrom(0, 2, 5, 1000),
  groups: parts({ maxConcurrency: fc.constantFrom(1, 1, 2, 3), ordering: fc.constantFrom('strict', 'relaxed') }),
  retention: parts({
    completedMs: fc.constantFrom(0, 500, 20_000),
    completedMax: fc.constantFrom(0, 1, 2),
    deadMs: fc.constantFrom(0, 500, 20_000),
  }),
});

const unique: fc.Arbitrary<Unique> = fc
  .record({
    key: fc.constantFrom('u', 'u', 'v'),
    until: fc.constantFrom('finished', 'finished', 'started', 'ttl'),
    ttlMs: fc.constantFrom(100, 300, 10_000),
    onConflict: fc.constantFrom('return', 'return', 'replace', 'replace', 'reject'),
  } as const)
  .map((asked) => ({ ...asked, ttlMs: asked.until === 'ttl' ? asked.ttlMs : null }));

const task: fc.Arbitrary<TaskSpec> = record({
  again: seldom(pick, 40),
  type: seldom(fc.constantFrom('a', 'b')),
  priority: fc.constantFrom(4, 4, 4, 0, 9),
  delayMs: seldom(wait),
  runIn: seldom(fc.constantFrom(-3e12, -100, 0, 200)),
  ttlMs: seldom(fc.constantFrom(100, 300, 300, 1000), 4),
  leaseMs: seldom(lease),
  maxAttempts: seldom(fc.constantFrom(1, 2), 3),
  backoff: seldom(backoff),
  key: seldom(
    record({ key: fc.constantFrom('k', 'l'), fingerprint: fc.constantFrom('f', 'f', 'f', 'f', 'f', 'g') }),
    3,
  ),
  unique: seldom(unique, 4),
  group: fc.constantFrom(null, null, 'a', 'a', 'b'),
  retentionMs: seldom(fc.constantFrom(0, 300, 15_000, 1_000_000, 1_000_000), 3),
});

const calls = fc.array(record({ queue, tasks: fc.array(task, { minLength: 1, maxLength: 4 }) }), {
  minLength: 1,
  maxLength: 2,
});

const claim = {
  pick: fc.oneof({ weight: 6, arbitrary: fc.nat(2) }, { weight: 2, arbitrary: fc.nat(20) }),
  among: fc.constantFrom('all', 'open', 'open'),
  token: fc.constantFrom('own', 'own', 'own', 'own', 'own', 'own', 'own', 'own', 'other', 'forged'),
} as const;

const settle: fc.Arbitrary<SettleSpec> = fc.oneof(
  { weight: 3, arbitrary: record({ ...claim, verb: fc.constant('ack'), result: seldom(fc.constant('{"ok":1}')) }) },
  {
    weight: 4,
    arbitrary: record({
      ...claim,
      ...{ verb: fc.constant('nack'), error: seldom(fc.constantFrom('x', 'y')), delayMs: seldom(wait, 2), random },
      retryable: fc.constantFrom(true, true, true, false),
    }),
  },
  { weight: 3, arbitrary: record({ ...claim, verb: fc.constant('release'), delayMs: seldom(wait) }) },
  {
    weight: 4,
    arbitrary: record({
      ...claim,
      ...{ verb: fc.constant('heartbeat'), leaseMs: seldom(lease) },
      maxRuntimeMs: fc.constantFrom(LIMITS.maxRuntimeMs, LIMITS.maxRuntimeMs, 1500, 200),
      ...{ progress: seldom(fc.constantFrom('1', 'null')), checkpoint: seldom(fc.constantFrom('[2]', 'null')) },
    }),
  },
);

const few = <Value>(arb: fc.Arbitrary<Value>, maxLength = 3): fc.Arbitrary<Value[]> =>
  fc.array(arb, { minLength: 1, maxLength });

/** One step; weights make the paths that matter frequent. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 14, arbitrary: record({ do: fc.constant('enqueue'), calls }) },
  { weight: 1, arbitrary: record({ do: fc.constant('tryEnqueue'), calls }) },
  {
    weight: 18,
    arbitrary: record({
      do: fc.constant('lease'),
      calls: few(
        record({ queue, max: fc.constantFrom(1, 1, 2, 5), leaseMs: seldom(lease, 3), request: seldom(request, 6) }),
        2,
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: record({ do: fc.constant('recall'), calls: few(record({ queue, request }), 2) }),
  },
  { weight: 22, arbitrary: record({ do: fc.constant('settle'), items: few(settle, 4) }) },
  {
    weight: 5,
    arbitrary: record({
      do: fc.constant('cancel'),
      items: few(
        record({
          target: target('all', 'leased', 'leased', 'ended'),
          reason: seldom(fc.constant('why')),
          force: fc.constantFrom(false, false, true),
        }),
        2,
      ),
    }),
  },
  { weight: 4, arbitrary: record({ do: fc.constant('redrive'), targets: few(target('all', 'ended')) }) },
  { weight: 2, arbitrary: record({ do: fc.constant('remove'), targets: few(target('all', 'ended', 'ended')) }) },
  { weight: 2, arbitrary: record({ do: fc.constant('get'), targets: few(target('all')) }) },
  { weight: 6, arbitrary: record({ do: fc.constant('advance'), ms: fc.constantFrom(1, 50, 100, 200, 500) }) },
  {
    weight: 1,
    arbitrary: record({
      do: fc.constant('advance'),
      ms: fc.constantFrom(1000, 10_000, 600_000, 600_000, LIMITS.idempotencyWindowMs),
    }),
  },
  {
    weight: 14,
    arbitrary: record({
      do: fc.constant('advanceTo'),
      what: fc.constantFrom('due', 'due', 'due', 'ttl'),
      plus: fc.constantFrom(0, 0, 0, -1, 1, 100),
      sweep: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: record({ do: fc.constant('sweep') }) },
  { weight: 1, arbitrary: record({ do: fc.constant('pause'), queue, paused: fc.constantFrom(true, false, false) }) },
  {
    weight: 4,
    arbitrary: record({
      do: fc.constant('configure'),
      ...{ queue, settings, mode: fc.constantFrom('merge', 'merge', 'replace') },
    }),
  },
  {
    weight: 1,
    arbitrary: record({
      do: fc.constant('purge'),
      ...{ queue, state: fc.constantFrom(...TASK_STATES), limit: fc.constantFrom(1, 2, 1000) },
    }),
  },
  {
    weight: 4,
    arbitrary: record({
      do: fc.constant('redriveMany'),
      ...{ queue, to: fc.nat(QUEUES - 1), type: seldom(fc.constantFrom('a', 'b')) },
      ...{ errorCode: seldom(fc.constantFrom('x', 'lease_expired')) },
      ...{ diedBeforeIn: seldom(fc.constantFrom(-100, 0)), max: seldom(fc.constantFrom(1, 2)) },
      ...{ limit: fc.constantFrom(1, 2, 128), steps: seldom(fc.constantFrom(0, 1, 2)) },
    }),
  },
  { weight: 1, arbitrary: record({ do: fc.constant('drop'), queue }) },
  { weight: 2, arbitrary: record({ do: fc.constant('look'), queue }) },
  {
    weight: 2,
    arbitrary: record({
      do: fc.constant('list'),
      ...{ queue, limit: fc.constantFrom(1, 3, 100) },
      filters: record({
        state: seldom(fc.constantFrom(...TASK_STATES), 2),
        type: seldom(fc.constantFrom('a', 'b'), 8),
        tag: seldom(fc.constantFrom('a', 'b'), 8),
        errorCode: seldom(fc.constantFrom('x', 'y', 'lease_expired', 'cancelled'), 6),
        order: fc.constantFrom('oldest', 'newest'),
      }),
      since: seldom(fc.constantFrom(0, 100, 500, 1000)),
      until: seldom(fc.constantFrom(0, 100, 500)),
    }),
  },
  { weight: 1, arbitrary: record({ do: fc.constant('reopen') }) },
);
