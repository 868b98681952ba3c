import type { DatabaseSync } from 'node:sqlite';

/** Marks a file as one of ours (https://www.sqlite.org/pragma.html#pragma_application_id): "Lsor". */
export const APPLICATION_ID = 0x4c736f72;

/**
 * One step each from the version before; the number of steps done is the file's version. A step that was
 * released is never edited: its words are data by then, which is why states are spelled out here.
 *
 * `tasks` holds what changes when a task moves, in small rows: what a lease or an ack rewrites does not grow
 * with the payload. What a producer sent is in `bodies` and never rewritten, what workers report is
 * in `notes`. `seq` grows with every task made, whatever its queue, and is the order of creation.
 *
 * `place` orders a line: taken from the counter that `seq` comes from, or negative for a task at the front.
 *
 * `group_place` orders the line of a group, as `place` does that of a queue, in which at most one task of a group stands.
 * A task that waits for its time has one only if it keeps its place meanwhile. `group_phase` is the state of a task that counts
 * in its group, and null otherwise: a column of its own, so that tasks without a group do not pay for the index of groups.
 *
 * `kept_until` is when a finished task with a retention of its own is pruned. Such tasks stand in indexes of their own, so that
 * they are not in the way of what the queue's retention looks for.
 *
 * `unique_held` is the key that a task holds now, so that the key is gone when the row is; what it asked for is in
 * `bodies`.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE counters (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    places INTEGER NOT NULL,
    grants INTEGER NOT NULL,
    checks INTEGER NOT NULL
  ) STRICT;
  INSERT INTO counters (one, places, grants, checks) VALUES (1, 0, 0, 0);

  CREATE TABLE queues (
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL CHECK (paused = 0 OR paused = 1),
    created_at INTEGER NOT NULL,
    settings TEXT NOT NULL,
    retain_at INTEGER,
    scheduled INTEGER NOT NULL DEFAULT 0 CHECK (scheduled >= 0),
    ready INTEGER NOT NULL DEFAULT 0 CHECK (ready >= 0),
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked >= 0),
    leased INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
    completed INTEGER NOT NULL DEFAULT 0 CHECK (completed >= 0),
    dead INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
    cancelled INTEGER NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
    expired INTEGER NOT NULL DEFAULT 0 CHECK (expired >= 0),
    total_enqueued INTEGER NOT NULL DEFAULT 0,
    total_leased INTEGER NOT NULL DEFAULT 0,
    total_acked INTEGER NOT NULL DEFAULT 0,
    total_nacked INTEGER NOT NULL DEFAULT 0,
    total_released INTEGER NOT NULL DEFAULT 0,
    total_expired INTEGER NOT NULL DEFAULT 0,
    total_dead INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX queues_retention ON queues (retain_at) WHERE retain_at IS NOT NULL;

  CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    queue_no INTEGER NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    place INTEGER,
    type TEXT,
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    deliveries INTEGER NOT NULL DEFAULT 0 CHECK (deliveries >= attempt),
    max_attempts INTEGER,
    lease_ms INTEGER,
    created_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    expires_at INTEGER,
    finished_at INTEGER,
    token TEXT,
    worker_id TEXT,
    request_id TEXT,
    granted_at INTEGER,
    grant_no INTEGER,
    lease_length INTEGER,
    deadline INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested = 0 OR cancel_requested = 1),
    settled_by TEXT CHECK (settled_by = 'ack' OR settled_by = 'nack' OR settled_by = 'release'),
    outcome_state TEXT,
    outcome_attempt INTEGER,
    outcome_run_at INTEGER,
    outcome_late INTEGER,
    CHECK (CASE state
      WHEN 'ready' THEN place IS NOT NULL AND deadline IS NULL AND finished_at IS NULL
      WHEN 'leased' THEN place IS NOT NULL AND deadline IS NOT NULL AND finished_at IS NULL
        AND token IS NOT NULL AND settled_by IS NULL
      WHEN 'completed' THEN deadline IS NULL AND finished_at IS NOT NULL
      WHEN 'scheduled' THEN place IS NULL AND deadline IS NULL AND finished_at IS NULL
      WHEN 'dead' THEN deadline IS NULL AND finished_at IS NOT NULL
      WHEN 'cancelled' THEN deadline IS NULL AND finished_at IS NOT NULL
      WHEN 'expired' THEN deadline IS NULL AND finished_at IS NOT NULL
      WHEN 'blocked' THEN deadline IS NULL AND finished_at IS NULL
      ELSE 0 END),
    CHECK ((settled_by IS NULL) = (outcome_state IS NULL)),
    CHECK (token IS NULL OR (granted_at IS NOT NULL AND grant_no IS NOT NULL AND lease_length IS NOT NULL))
  ) STRICT;
  CREATE INDEX tasks_state ON tasks (queue_no, state);
  CREATE INDEX tasks_line ON tasks (queue_no, priority DESC, place) WHERE state = 'ready';
  CREATE INDEX tasks_due ON tasks (run_at) WHERE state = 'scheduled';
  CREATE INDEX tasks_next_run ON tasks (queue_no, run_at) WHERE state = 'scheduled';
  CREATE INDEX tasks_deadline ON tasks (deadline, grant_no) WHERE state = 'leased';
  CREATE INDEX tasks_request ON tasks (queue_no, request_id, grant_no) WHERE request_id IS NOT NULL;
  CREATE INDEX tasks_ttl ON tasks (expires_at)
    WHERE expires_at IS NOT NULL AND deadline IS NULL AND finished_at IS NULL;
  CREATE INDEX tasks_finished ON tasks (queue_no, state, finished_at) WHERE finished_at IS NOT NULL;

  CREATE TABLE bodies (
    seq INTEGER PRIMARY KEY,
    payload TEXT NOT NULL,
    tags TEXT,
    metadata TEXT,
    traceparent TEXT,
    tracestate TEXT,
    backoff TEXT,
    idempotency_key TEXT
  ) STRICT;

  CREATE TABLE notes (
    seq INTEGER PRIMARY KEY,
    error_code TEXT,
    error_message TEXT,
    error_details TEXT,
    error_attempt INTEGER,
    error_at INTEGER,
    progress TEXT,
    checkpoint TEXT,
    result TEXT
  ) STRICT;

  CREATE TABLE idempotency_keys (
    queue_no INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    kept_state TEXT,
    kept_created_at INTEGER,
    kept_run_at INTEGER,
    kept_expires_at INTEGER,
    kept_finished_at INTEGER,
    kept_attempt INTEGER,
    kept_deliveries INTEGER,
    PRIMARY KEY (queue_no, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
  `,
  `
  ALTER TABLE tasks ADD COLUMN unique_held TEXT;
  CREATE UNIQUE INDEX tasks_unique ON tasks (queue_no, unique_held) WHERE unique_held IS NOT NULL;
  ALTER TABLE bodies ADD COLUMN unique_key TEXT;
  ALTER TABLE bodies ADD COLUMN unique_until TEXT;
  ALTER TABLE bodies ADD COLUMN unique_ttl_ms INTEGER;

  ALTER TABLE tasks ADD COLUMN group_key TEXT;
  ALTER TABLE tasks ADD COLUMN group_place INTEGER;
  ALTER TABLE tasks ADD COLUMN group_phase TEXT;
  CREATE INDEX tasks_group ON tasks (queue_no, group_key, group_phase, group_place) WHERE group_phase IS NOT NULL;
  CREATE TABLE regroupings (
    queue_no INTEGER PRIMARY KEY,
    after_seq INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE rate_log (
    queue_no INTEGER NOT NULL,
    no INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (queue_no, no)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    queue TEXT NOT NULL,
    type TEXT,
    error_code TEXT,
    died_until INTEGER NOT NULL,
    most INTEGER,
    rate_per_sec INTEGER,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    next_at INTEGER NOT NULL,
    position_at INTEGER NOT NULL,
    position_seq INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    total INTEGER NOT NULL,
    matched INTEGER NOT NULL,
    moved INTEGER NOT NULL,
    CHECK ((state = 'running') = (finished_at IS NULL))
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX operations_running ON operations (created_at) WHERE finished_at IS NULL;
  CREATE INDEX operations_ended ON operations (finished_at) WHERE finished_at IS NOT NULL;

  ALTER TABLE tasks ADD COLUMN retention_ms INTEGER;
  ALTER TABLE tasks ADD COLUMN kept_until INTEGER;
  DROP INDEX tasks_finished;
  CREATE INDEX tasks_finished ON tasks (queue_no, state, finished_at) WHERE finished_at IS NOT NULL AND kept_until IS NULL;
  CREATE INDEX tasks_kept ON tasks (queue_no, state, finished_at) WHERE kept_until IS NOT NULL;
  CREATE INDEX tasks_kept_until ON tasks (queue_no, kept_until) WHERE kept_until IS NOT NULL;
  `,
  `
  ALTER TABLE operations ADD COLUMN into_queue TEXT;
  `,
];

/** Brings a database, in which a transaction is open, from `version` to the newest one. */
export function migrate(db: DatabaseSync, version: number): void {
  if (version === MIGRATIONS.length) return;
  for (const step of MIGRATIONS.slice(version)) db.exec(step);
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}`);
}
