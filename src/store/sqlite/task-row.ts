import type { JsonText } from '../../domain/json-text.ts';
import type { NewTask, TaskError, TaskRecord, TaskState } from '../../domain/task.ts';
import type { EndingVerb } from '../../domain/transitions.ts';
import type { FirstOutcome } from '../store.ts';
import type { Queue } from './queue-table.ts';

/** A row of `tasks`, to be changed and saved; see the schema for what belongs together. */
export interface Task {
  readonly seq: number;
  readonly id: string;
  readonly queueNo: number;
  state: TaskState;
  readonly priority: number;
  place: number | null;
  readonly type: string | null;
  attempt: number;
  deliveries: number;
  readonly maxAttempts: number | null;
  readonly leaseMs: number | null;
  readonly createdAt: number;
  runAt: number;
  expiresAt: number | null;
  finishedAt: number | null;
  token: string | null;
  workerId: string | null;
  grantedAt: number | null;
  grantNo: number | null;
  leaseLength: number | null;
  deadline: number | null;
  cancelRequested: boolean;
  settledBy: EndingVerb | null;
  outcome: FirstOutcome | null;
  /** The unique key that it holds; written by itself, when it changes. */
  uniqueHeld: string | null;
  readonly groupKey: string | null;
  /** In the line of its group; written by itself, as {@link uniqueHeld} is. */
  groupPlace: number | null;
  /** How long it is kept after it has ended, whatever the queue's retention says. */
  readonly retentionMs: number | null;
}

/** What a producer sent and workers reported, as stored. */
export interface TaskDetails {
  payload: JsonText;
  tags: readonly string[];
  metadata: Readonly<Record<string, string>>;
  trace: TaskRecord['trace'];
  uniqueKey: string | null;
  lastError: TaskError | null;
  progress: JsonText | null;
  checkpoint: JsonText | null;
  result: JsonText | null;
}

const TASK = [
  'seq',
  'id',
  'queue_no',
  'state',
  'priority',
  'place',
  'type',
  'attempt',
  'deliveries',
  'max_attempts',
  'lease_ms',
  'created_at',
  'run_at',
  'expires_at',
  'finished_at',
  'token',
  'worker_id',
  'granted_at',
  'grant_no',
  'lease_length',
  'deadline',
  'cancel_requested',
  'settled_by',
  'outcome_state',
  'outcome_attempt',
  'outcome_run_at',
  'outcome_late',
  'unique_held',
  'group_key',
  'group_place',
  'retention_ms',
];

/** The columns of a {@link Task}. */
export const TASK_COLUMNS = TASK.map((column) => `tasks.${column}`).join(', ');

/** The columns of a {@link Task} and its {@link TaskDetails}, once {@link DETAIL_JOIN} follows `tasks`. */
export const FULL_COLUMNS = `${TASK_COLUMNS}, payload, tags, metadata, traceparent, tracestate, unique_key,
  error_code, error_message, error_details, error_attempt, error_at, progress, checkpoint, result`;
export const DETAIL_JOIN = 'CROSS JOIN bodies ON bodies.seq = tasks.seq LEFT JOIN notes ON notes.seq = tasks.seq';

export type TaskColumns = [
  seq: number,
  id: string,
  queueNo: number,
  state: TaskState,
  priority: number,
  place: number | null,
  type: string | null,
  attempt: number,
  deliveries: number,
  maxAttempts: number | null,
  leaseMs: number | null,
  createdAt: number,
  runAt: number,
  expiresAt: number | null,
  finishedAt: number | null,
  token: string | null,
  workerId: string | null,
  grantedAt: number | null,
  grantNo: number | null,
  leaseLength: number | null,
  deadline: number | null,
  cancelRequested: number,
  settledBy: EndingVerb | null,
  outcomeState: TaskState | null,
  outcomeAttempt: number,
  outcomeRunAt: number,
  outcomeLate: number,
  uniqueHeld: string | null,
  groupKey: string | null,
  groupPlace: number | null,
  retentionMs: number | null,
];

export type FullColumns = [
  ...TaskColumns,
  payload: JsonText,
  tags: string | null,
  metadata: string | null,
  traceparent: string | null,
  tracestate: string | null,
  uniqueKey: string | null,
  errorCode: string | null,
  errorMessage: string | null,
  errorDetails: JsonText | null,
  errorAttempt: number,
  errorAt: number | null,
  progress: JsonText | null,
  checkpoint: JsonText | null,
  result: JsonText | null,
];

export function decodeTask(columns: TaskColumns | FullColumns): Task {
  const settledBy = columns[22];
  const outcomeState = columns[23];
  return {
    seq: columns[0],
    id: columns[1],
    queueNo: columns[2],
    state: columns[3],
    priority: columns[4],
    place: columns[5],
    type: columns[6],
    attempt: columns[7],
    deliveries: columns[8],
    maxAttempts: columns[9],
    leaseMs: columns[10],
    createdAt: columns[11],
    runAt: columns[12],
    expiresAt: columns[13],
    finishedAt: columns[14],
    token: columns[15],
    workerId: columns[16],
    grantedAt: columns[17],
    grantNo: columns[18],
    leaseLength: columns[19],
    deadline: columns[20],
    cancelRequested: columns[21] !== 0,
    settledBy,
    outcome:
      settledBy === null || outcomeState === null
        ? null
        : {
            verb: settledBy,
            state: outcomeState,
            attempt: columns[24],
            runAt: columns[25],
            late: columns[26] !== 0,
          },
    uniqueHeld: columns[27],
    groupKey: columns[28],
    groupPlace: columns[29],
    retentionMs: columns[30],
  };
}

const NO_TAGS: readonly string[] = Object.freeze([]);
const NO_METADATA: Readonly<Record<string, string>> = Object.freeze({});

export function decodeDetails(columns: FullColumns): TaskDetails {
  const tags = columns[32];
  const metadata = columns[33];
  const traceparent = columns[34];
  const errorAt = columns[41];
  return {
    payload: columns[31],
    tags: tags === null ? NO_TAGS : (JSON.parse(tags) as string[]),
    metadata: metadata === null ? NO_METADATA : (JSON.parse(metadata) as Record<string, string>),
    trace: traceparent === null ? null : { traceparent, tracestate: columns[35] },
    uniqueKey: columns[36],
    lastError:
      errorAt === null
        ? null
        : {
            code: columns[37],
            message: columns[38],
            details: columns[39],
            attempt: columns[40],
            at: errorAt,
          },
    progress: columns[42],
    checkpoint: columns[43],
    result: columns[44],
  };
}

/** The details of a task that no worker has had yet. */
export function newDetails(task: NewTask): TaskDetails {
  return {
    payload: task.payload,
    tags: task.tags,
    metadata: task.metadata,
    trace: task.trace,
    uniqueKey: task.unique?.key ?? null,
    lastError: null,
    progress: null,
    checkpoint: null,
    result: null,
  };
}

export function toRecord(task: Task, details: TaskDetails, queue: Queue): TaskRecord {
  return {
    id: task.id,
    queue: queue.name,
    type: task.type,
    state: task.state,
    priority: task.priority,
    payload: details.payload,
    tags: details.tags,
    metadata: details.metadata,
    groupKey: task.groupKey,
    uniqueKey: details.uniqueKey,
    attempt: task.attempt,
    maxAttempts: task.maxAttempts ?? queue.config.maxAttempts,
    deliveries: task.deliveries,
    createdAt: task.createdAt,
    runAt: task.runAt,
    expiresAt: task.expiresAt,
    finishedAt: task.finishedAt,
    lease: task.deadline === null ? null : { workerId: task.workerId, expiresAt: task.deadline },
    progress: details.progress,
    checkpoint: details.checkpoint,
    result: details.result,
    lastError: details.lastError,
    cancelRequested: task.cancelRequested,
    trace: details.trace,
  };
}
