import { hash } from 'node:crypto';
import type { Found, Granted, Posted, Settled, Verb } from '../history/event.ts';

/** What the payload of every task is: its mark, and something that is not ASCII and not small. */
export interface Payload {
  mark: string;
  filling: string;
}

interface WireTask {
  id: string;
  queue: string;
  state: string;
  payload: Payload;
  groupKey: string | null;
  attempt: number;
  maxAttempts: number;
  deliveries: number;
  createdAt: string;
  runAt: string;
  expiresAt: string | null;
  finishedAt: string | null;
  result: { by: string } | null;
  lease: { token: string; fence: number; expiresAt: string } | null;
}

export function payloadOf(mark: string): Payload {
  return { mark, filling: `größer ${'0123456789'.repeat(mark.length % 7)}` };
}

export function payloadHash(payload: unknown): string {
  return hash('sha256', JSON.stringify(payload)).slice(0, 12);
}

const time = (text: string): number => Date.parse(text);
const timeOrNull = (text: string | null): number | null => (text === null ? null : Date.parse(text));

/** The task of an enqueue request. */
export function toWire(posted: Posted): Record<string, unknown> {
  const { mark, queue, delayMs, ttlMs, maxAttempts, groupKey, unique } = posted;
  const task: Record<string, unknown> = { queue, payload: payloadOf(mark), maxAttempts };
  if (delayMs > 0) task['delayMs'] = delayMs;
  if (ttlMs !== null) task['ttlMs'] = ttlMs;
  if (groupKey !== null) task['groupKey'] = groupKey;
  if (unique !== null) task['unique'] = { key: unique };
  return task;
}

/** @param leaseMs what was asked for */
export function toGranted(task: WireTask, leaseMs: number): Granted {
  return {
    task: task.id,
    mark: task.payload?.mark ?? '',
    hash: payloadHash(task.payload),
    queue: task.queue,
    groupKey: task.groupKey,
    attempt: task.attempt,
    maxAttempts: task.maxAttempts,
    fence: task.lease?.fence ?? 0,
    token: task.lease?.token ?? '',
    deadline: time(task.lease?.expiresAt ?? ''),
    leaseMs,
    createdAt: time(task.createdAt),
    runAt: time(task.runAt),
    expiresAt: timeOrNull(task.expiresAt),
  };
}

export function toFound(task: WireTask): Found {
  return {
    task: task.id,
    mark: task.payload?.mark ?? '',
    hash: payloadHash(task.payload),
    queue: task.queue,
    state: task.state,
    attempt: task.attempt,
    maxAttempts: task.maxAttempts,
    deliveries: task.deliveries,
    createdAt: time(task.createdAt),
    expiresAt: timeOrNull(task.expiresAt),
    finishedAt: timeOrNull(task.finishedAt),
    result: task.result?.by ?? null,
  };
}

/** The body of a verb, without the task's id. */
export function verbBody({ verb, token, retryable, delayMs, leaseMs, result }: Verb): Record<string, unknown> {
  const body: Record<string, unknown> = { leaseToken: token };
  if (verb === 'nack') body['error'] = { code: 'drawn', message: 'as the seed has it' };
  if (retryable !== undefined) body['retryable'] = retryable;
  if (delayMs !== undefined) body['delayMs'] = delayMs;
  if (leaseMs !== undefined) body['leaseMs'] = leaseMs;
  if (result !== undefined) body['result'] = { by: result };
  return body;
}

interface WireSettled {
  status?: number;
  state?: string;
  attempt?: number;
  late?: boolean;
  replayed?: boolean;
  runAt?: string;
  lease?: { expiresAt: string };
  problem?: { code: string };
}

export function toSettled(result: WireSettled, status: number): Settled {
  return {
    status: result.status ?? status,
    code: result.problem?.code ?? null,
    state: result.state ?? null,
    attempt: result.attempt ?? null,
    late: result.late ?? false,
    replayed: result.replayed ?? false,
    deadline: result.lease === undefined ? null : time(result.lease.expiresAt),
    runAt: result.runAt === undefined ? null : time(result.runAt),
  };
}
