import { UNIQUE_RELEASE, UNIQUE_UNTIL } from '../../domain/unique.ts';
import type { Fault } from '../census.ts';

/** A question to the file whose every answer is a fault, and what mends all of them at once. */
export interface Check {
  fault: Fault;
  /** Answers queue, subject and what was seen. */
  faults: string;
  /** Empty where it is only reported. */
  mend: readonly string[];
}

const until = (of: (name: (typeof UNIQUE_UNTIL)[number]) => boolean): string =>
  UNIQUE_UNTIL.filter(of)
    .map((name) => `'${name}'`)
    .join(', ');

const QUEUE = '(SELECT name FROM queues WHERE no = queue_no)';
const NO_QUEUE = 'queue_no NOT IN (SELECT no FROM queues)';
const NO_TASK = 'seq NOT IN (SELECT seq FROM tasks)';
const NO_BODY = 'seq NOT IN (SELECT seq FROM bodies)';
const SPENT_KEY = 'kept_state IS NULL AND task_id NOT IN (SELECT id FROM tasks)';

/** What a task counts as in its group. */
const PHASE = `CASE WHEN group_key IS NOT NULL AND finished_at IS NULL AND group_place IS NOT NULL THEN state END`;
const PLACELESS = `group_key IS NOT NULL AND group_place IS NULL AND state IN ('ready', 'blocked', 'leased')`;
const KEPT = 'CASE WHEN finished_at IS NOT NULL THEN finished_at + retention_ms END';

const HOLDS_IN_VAIN = `unique_held IS NOT NULL AND EXISTS (SELECT 1 FROM bodies WHERE bodies.seq = tasks.seq AND (
  unique_key IS NOT unique_held
  OR finished_at IS NOT NULL AND unique_until IN (${until((name) => UNIQUE_RELEASE[name].end)})
  OR state = 'leased' AND unique_until IN (${until((name) => UNIQUE_RELEASE[name].start)})))`;

/** The key that a task must hold and does not, while nobody else does. */
const KEY_DUE = `SELECT unique_key FROM bodies WHERE bodies.seq = tasks.seq AND unique_key IS NOT NULL
  AND (unique_until IN (${until((name) => UNIQUE_RELEASE[name].end && !UNIQUE_RELEASE[name].start)})
    OR unique_until IN (${until((name) => UNIQUE_RELEASE[name].start)}) AND deliveries = 0)`;
const KEYLESS = `finished_at IS NULL AND unique_held IS NULL AND EXISTS (${KEY_DUE})`;

/** A ready task of a group that is not the first of those that are ready. */
const SECOND = `group_phase = 'ready' AND EXISTS (SELECT 1 FROM tasks AS first WHERE first.queue_no = tasks.queue_no
  AND first.group_key = tasks.group_key AND first.group_phase = 'ready' AND first.group_place < tasks.group_place)`;

/** In the order in which they are asked and mended: later ones rely on what earlier ones have mended. */
export const CHECKS: readonly Check[] = [
  {
    fault: 'queue',
    faults: `SELECT NULL, 'queue ' || queue_no, count(*) || ' tasks are of it' FROM tasks WHERE ${NO_QUEUE} GROUP BY queue_no`,
    mend: [],
  },
  {
    fault: 'bodiless',
    faults: `SELECT ${QUEUE}, id, 'its body is gone' FROM tasks WHERE ${NO_BODY}`,
    mend: [`DELETE FROM tasks WHERE ${NO_BODY}`],
  },
  ...(['bodies', 'notes'] as const).map(
    (table): Check => ({
      fault: 'orphan',
      faults: `SELECT NULL, 'task ' || seq, 'a row of ${table} whose task is gone' FROM ${table} WHERE ${NO_TASK}`,
      mend: [`DELETE FROM ${table} WHERE ${NO_TASK}`],
    }),
  ),
  {
    fault: 'orphan',
    faults: `SELECT ${QUEUE}, task_id, 'an idempotency key of a task that is gone' FROM idempotency_keys WHERE ${SPENT_KEY}`,
    mend: [`DELETE FROM idempotency_keys WHERE ${SPENT_KEY}`],
  },
  ...(['idempotency_keys', 'rate_log', 'regroupings'] as const).map((table): Check => {
    // A queue that has tasks has only lost its record, which is told.
    const gone = `${NO_QUEUE} AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.queue_no = ${table}.queue_no)`;
    return {
      fault: 'orphan',
      faults: `SELECT NULL, 'queue ' || queue_no, count(*) || ' rows of ${table}, and the queue is gone' FROM ${table}
          WHERE ${gone} GROUP BY queue_no`,
      mend: [`DELETE FROM ${table} WHERE ${gone}`],
    };
  }),
  {
    fault: 'orphan',
    faults: `SELECT name, name, 'times of grants, and the queue has no rate limit' FROM rate_log
      JOIN queues ON queues.no = queue_no WHERE settings ->> 'rateLimit' IS NULL GROUP BY queue_no`,
    mend: [`DELETE FROM rate_log WHERE queue_no IN (SELECT no FROM queues WHERE settings ->> 'rateLimit' IS NULL)`],
  },
  {
    fault: 'orphan',
    faults: `SELECT ${QUEUE}, id, 'a unique key held by a task that is ' || state FROM tasks WHERE ${HOLDS_IN_VAIN}`,
    mend: [`UPDATE tasks SET unique_held = NULL WHERE ${HOLDS_IN_VAIN}`],
  },
  {
    fault: 'unique',
    faults: `SELECT ${QUEUE}, id, 'it does not hold its key' FROM tasks WHERE ${KEYLESS}`,
    mend: [`UPDATE OR IGNORE tasks SET unique_held = (${KEY_DUE}) WHERE ${KEYLESS}`],
  },
  {
    fault: 'unlisted',
    faults: `SELECT ${QUEUE}, id, state || ', without a place in its group' FROM tasks WHERE ${PLACELESS}`,
    mend: [`UPDATE tasks SET group_place = seq WHERE ${PLACELESS}`],
  },
  {
    fault: 'unlisted',
    faults: `SELECT ${QUEUE}, id, state || ', not counted so in its group' FROM tasks WHERE group_phase IS NOT ${PHASE}`,
    mend: [`UPDATE tasks SET group_phase = ${PHASE} WHERE group_phase IS NOT ${PHASE}`],
  },
  {
    fault: 'unlisted',
    faults: `SELECT ${QUEUE}, id, 'blocked, and of no group' FROM tasks WHERE state = 'blocked' AND group_key IS NULL`,
    mend: [`UPDATE tasks SET state = 'ready', place = seq WHERE state = 'blocked' AND group_key IS NULL`],
  },
  {
    fault: 'group',
    faults: `SELECT ${QUEUE}, id, 'ready, and another one of its group before it is' FROM tasks WHERE ${SECOND}`,
    mend: [`UPDATE tasks SET state = 'blocked', group_phase = 'blocked', place = NULL WHERE ${SECOND}`],
  },
  {
    fault: 'schedule',
    faults: `SELECT ${QUEUE}, id, 'the end of its own retention is not what it should be' FROM tasks WHERE kept_until IS NOT ${KEPT}`,
    mend: [`UPDATE tasks SET kept_until = ${KEPT} WHERE kept_until IS NOT ${KEPT}`],
  },
  {
    fault: 'sequence',
    faults: `SELECT NULL, 'places', places || ' is noted, and higher ones are in use' FROM counters
      WHERE places < (SELECT max(max(seq), ifnull(max(place), 0), ifnull(max(group_place), 0)) FROM tasks)`,
    mend: [
      `UPDATE counters SET places = max(places,
        ifnull((SELECT max(max(seq), ifnull(max(place), 0), ifnull(max(group_place), 0)) FROM tasks), 0))`,
    ],
  },
  {
    fault: 'sequence',
    faults: `SELECT NULL, 'grants', grants || ' is noted, and higher ones are in use' FROM counters
      WHERE grants < (SELECT max(grant_no) FROM tasks)`,
    mend: ['UPDATE counters SET grants = max(grants, ifnull((SELECT max(grant_no) FROM tasks), 0))'],
  },
];
