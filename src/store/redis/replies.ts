import { queueConfig, type QueueSettings } from '../../domain/queue.ts';
import { isProblemCode, type ProblemCode } from '../../domain/problems.ts';
import type { JsonText } from '../../domain/json-text.ts';
import {
  type Grant,
  TASK_STATES,
  type NewTask,
  type TaskError,
  type TaskRecord,
  type TaskState,
  type Trace,
} from '../../domain/task.ts';
import type { LeaseCall, QueueRecord, StateCounts } from '../store.ts';

/**
 * Replies of the operations, checked and decoded. Whatever does not look as it must is an error here, at the boundary, and
 * not a strange value somewhere else.
 */

/** Says what kind of thing came, and not what was in it: replies hold payloads and tokens. */
export class UnexpectedReply extends Error {
  constructor(what: string, reply: unknown) {
    super(`Redis answered something else than ${what}: ${kindOf(reply)}`);
    this.name = 'UnexpectedReply';
  }
}

function kindOf(reply: unknown): string {
  if (Array.isArray(reply)) return `a list of ${reply.length}`;
  return typeof reply === 'string' ? `a text of ${reply.length} characters` : `a ${typeof reply}`;
}

export function list(reply: unknown): unknown[] {
  if (!Array.isArray(reply)) throw new UnexpectedReply('a list', reply);
  return reply;
}

export function text(reply: unknown): string {
  if (typeof reply !== 'string') throw new UnexpectedReply('a text', reply);
  return reply;
}

export function number(reply: unknown): number {
  const value = typeof reply === 'string' && reply !== '' ? Number(reply) : reply;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new UnexpectedReply('a number', reply);
  return value;
}

/** A number, or null for ''. */
export function maybeNumber(reply: unknown): number | null {
  return reply === '' || reply === undefined || reply === null ? null : number(reply);
}

export function problemCode(reply: unknown): ProblemCode {
  const code = text(reply);
  if (!isProblemCode(code)) throw new UnexpectedReply('a problem code', reply);
  return code;
}

export function taskState(reply: unknown): TaskState {
  const state = TASK_STATES.find((known) => known === reply);
  if (state === undefined) throw new UnexpectedReply('a state', reply);
  return state;
}

/** A flat list of fields and values. */
function fields(reply: unknown): Map<string, string> {
  const flat = list(reply);
  const map = new Map<string, string>();
  for (let at = 0; at < flat.length; at += 2) map.set(text(flat[at]), text(flat[at + 1]));
  return map;
}

interface Attributes {
  g?: readonly string[];
  m?: Readonly<Record<string, string>>;
  t?: Trace;
  u?: string;
  q?: string;
}

/** Tags, metadata, trace, unique key and group, as far as there are any, in ASCII; '' when there are none. */
export function encodeAttributes({ tags, metadata, trace, unique, groupKey }: NewTask): string {
  const keys = unique === null && groupKey === null;
  if (tags.length === 0 && trace === null && keys && Object.keys(metadata).length === 0) return '';
  const attributes: Attributes = {};
  if (tags.length > 0) attributes.g = tags;
  if (Object.keys(metadata).length > 0) attributes.m = metadata;
  if (trace !== null) attributes.t = trace;
  if (unique !== null) attributes.u = unique.key;
  if (groupKey !== null) attributes.q = groupKey;
  return asciiJson(attributes);
}

/** JSON in ASCII. A text has one such form, by which it is found among attributes. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

interface Body {
  queue: string;
  priority: number;
  state: TaskState;
  createdAt: number;
  runAt: number;
  expiresAt: number | null;
  maxAttempts: number | null;
  type: string | null;
  tags: readonly string[];
  metadata: Readonly<Record<string, string>>;
  trace: Trace | null;
  uniqueKey: string | null;
  groupKey: string | null;
  payload: JsonText;
}

const HEADER_FIELDS = 17;

/** The fields of a body's header, and where what follows them begins. */
function headerOf(body: string): { header: string[]; at: number } {
  const header: string[] = [];
  let at = 0;
  while (header.length < HEADER_FIELDS) {
    const end = body.indexOf('|', at);
    if (end < 0) throw new UnexpectedReply('the body of a task', body);
    header.push(body.slice(at, end));
    at = end + 1;
  }
  return { header, at };
}

/** The fields of a body's header, and its attributes with the payload. */
export function splitBody(body: string): { header: string[]; rest: string } {
  const { header, at } = headerOf(body);
  return { header, rest: body.slice(at) };
}

/** The body of a task, as lua/includes/body.lua lays it out. */
function decodeBody(body: string): Body {
  const { header, at } = headerOf(body);
  const [, state, createdAt, runAt, type, length, queue, , priority, expiresAt, , maxAttempts] = header;
  // The length is in bytes; attributes are written in ASCII, so that it is the number of characters too.
  const payloadAt = at + number(length);
  const attributes = (payloadAt > at ? JSON.parse(body.slice(at, payloadAt)) : {}) as Attributes;
  return {
    queue: text(queue),
    priority: number(priority),
    state: taskState(state),
    createdAt: number(createdAt),
    runAt: number(runAt),
    expiresAt: maybeNumber(expiresAt),
    maxAttempts: maybeNumber(maxAttempts),
    type: type === '' || type === undefined ? null : type,
    tags: attributes.g ?? [],
    metadata: attributes.m ?? {},
    trace: attributes.t ?? null,
    uniqueKey: attributes.u ?? null,
    groupKey: attributes.q ?? null,
    payload: body.slice(payloadAt) as JsonText,
  };
}

function optional(value: string | undefined): string | null {
  return value === undefined ? null : value.slice(1);
}

function json(value: string | undefined): JsonText | null {
  return value === undefined ? null : (value as JsonText);
}

function lastError(said: ReadonlyMap<string, string>): TaskError | null {
  const at = said.get('et');
  if (at === undefined) return null;
  return {
    code: optional(said.get('ec')),
    message: optional(said.get('em')),
    details: json(said.get('ed')),
    attempt: number(said.get('ea')),
    at: number(at),
  };
}

interface Changes {
  state: TaskState;
  attempt: number;
  deliveries: number;
  deadline: number | null;
  workerId: string | null;
  runAt: number;
  expiresAt: number | null;
  finishedAt: number | null;
  cancelRequested: boolean;
}

/** What has changed about a task, as lua/includes/task.lua lays it out. */
function decodeChanges(packed: string): Changes {
  const [state, , deadline, attempt, deliveries, , , , worker, , runAt, finishedAt, , , cancel, , , , , expiresAt] =
    packed.split('|');
  return {
    state: taskState(state),
    attempt: number(attempt),
    deliveries: number(deliveries),
    deadline: maybeNumber(deadline),
    workerId: decodeWorkerId(text(worker)),
    runAt: number(runAt),
    expiresAt: maybeNumber(expiresAt),
    finishedAt: maybeNumber(finishedAt),
    cancelRequested: cancel === '1',
  };
}

/** A worker's id without the separator of fields. */
export function encodeWorkerId(workerId: string | null): string {
  return workerId === null ? '' : `+${workerId.replace(/[%|]/g, encodeURIComponent)}`;
}

function decodeWorkerId(encoded: string): string | null {
  return encoded === '' ? null : encoded.slice(1).replace(/%(25|7C)/g, decodeURIComponent);
}

/** A view: id, body, what has changed, what was said, the queue's maxAttempts. */
export function taskRecord(view: unknown): TaskRecord {
  const [id, bodyText, packed, saidFields, queueMaxAttempts] = list(view);
  const body = decodeBody(text(bodyText));
  const changes = packed === '' ? null : decodeChanges(text(packed));
  const said = saidFields === '' ? NOTHING_SAID : fields(saidFields);
  return {
    id: text(id),
    queue: body.queue,
    type: body.type,
    state: changes?.state ?? body.state,
    priority: body.priority,
    payload: body.payload,
    tags: body.tags,
    metadata: body.metadata,
    groupKey: body.groupKey,
    uniqueKey: body.uniqueKey,
    attempt: changes?.attempt ?? 0,
    maxAttempts: body.maxAttempts ?? number(queueMaxAttempts),
    deliveries: changes?.deliveries ?? 0,
    createdAt: body.createdAt,
    runAt: changes?.runAt ?? body.runAt,
    expiresAt: changes ? changes.expiresAt : body.expiresAt,
    finishedAt: changes?.finishedAt ?? null,
    lease: changes?.state === 'leased' ? { workerId: changes.workerId, expiresAt: number(changes.deadline) } : null,
    progress: json(said.get('pr')),
    checkpoint: json(said.get('cp')),
    result: json(said.get('rs')),
    lastError: lastError(said),
    cancelRequested: changes?.cancelRequested ?? false,
    trace: body.trace,
  };
}

const NOTHING_SAID: ReadonlyMap<string, string> = new Map();

/** A task that was granted for the first time just now, from its body and from what was asked for. */
export function firstGrant(
  id: string,
  bodyText: unknown,
  { token, workerId }: LeaseCall,
  deadline: number,
  queueMaxAttempts: number,
): Grant {
  const body = decodeBody(text(bodyText));
  const task: TaskRecord = {
    id,
    queue: body.queue,
    type: body.type,
    state: 'leased',
    priority: body.priority,
    payload: body.payload,
    tags: body.tags,
    metadata: body.metadata,
    groupKey: body.groupKey,
    uniqueKey: body.uniqueKey,
    attempt: 1,
    maxAttempts: body.maxAttempts ?? queueMaxAttempts,
    deliveries: 1,
    createdAt: body.createdAt,
    runAt: body.runAt,
    expiresAt: null,
    finishedAt: null,
    lease: { workerId, expiresAt: deadline },
    progress: null,
    checkpoint: null,
    result: null,
    lastError: null,
    cancelRequested: false,
    trace: body.trace,
  };
  return { task, token };
}

/** A view of a task that is leased, and its token. */
export function grant(view: unknown): Grant {
  const [, , packed] = list(view);
  return { task: taskRecord(view), token: text(text(packed).split('|', 2)[1]) };
}

/** A task that was stored just now, from what was asked for. */
export function freshRecord(
  queue: string,
  task: NewTask,
  now: number,
  { runAt, state }: { runAt: number; state: TaskState },
  queueMaxAttempts: number,
): TaskRecord {
  return {
    id: task.id,
    queue,
    type: task.type,
    state,
    priority: task.priority,
    payload: task.payload,
    tags: task.tags,
    metadata: task.metadata,
    groupKey: task.groupKey,
    uniqueKey: task.unique?.key ?? null,
    attempt: 0,
    maxAttempts: task.maxAttempts ?? queueMaxAttempts,
    deliveries: 0,
    createdAt: now,
    runAt,
    expiresAt: task.ttlMs === null ? null : now + task.ttlMs,
    finishedAt: null,
    lease: null,
    progress: null,
    checkpoint: null,
    result: null,
    lastError: null,
    cancelRequested: false,
    trace: task.trace,
  };
}

/** A task that retention has taken, from its key's record and from the request that repeats it. */
export function prunedRecord(queue: string, task: NewTask, record: string, queueMaxAttempts: number): TaskRecord {
  const [id, state, createdAt, runAt, finishedAt, attempt, deliveries, expiresAt] = record.split('|');
  return {
    ...freshRecord(queue, task, 0, { runAt: 0, state: 'ready' }, queueMaxAttempts),
    id: text(id),
    state: taskState(state),
    createdAt: number(createdAt),
    runAt: number(runAt),
    finishedAt: number(finishedAt),
    attempt: number(attempt),
    deliveries: number(deliveries),
    expiresAt: maybeNumber(expiresAt),
  };
}

/** Settings as configure.lua keeps them. */
export function storedSettings(stored: string): QueueSettings {
  return JSON.parse(stored) as QueueSettings;
}

export function queueRecord(name: string, reply: unknown): QueueRecord | null {
  if (reply === '') return null;
  const [hash, oldestReadyAt, nextRunAt, rateOpensAt, blockedByLease] = list(reply);
  const values = fields(hash);
  const count = (field: string) => Number(values.get(field) ?? 0);
  const settings = storedSettings(values.get('settings') ?? '{}');
  const counts = Object.fromEntries(TASK_STATES.map((state) => [state, count(`#${state}`)])) as StateCounts;
  return {
    name,
    paused: values.get('paused') === '1',
    createdAt: count('created'),
    settings,
    config: queueConfig(settings),
    counts: { ...counts, ready: count('ready') },
    totals: {
      enqueued: count('+enqueued'),
      leased: count('+leased'),
      acked: count('+acked'),
      nacked: count('+nacked'),
      released: count('+released'),
      expired: count('+expired'),
      dead: count('+dead'),
    },
    oldestReadyAt: maybeNumber(oldestReadyAt),
    nextRunAt: maybeNumber(nextRunAt),
    rateOpensAt: maybeNumber(rateOpensAt),
    blockedByLease: blockedByLease === '1',
  };
}
