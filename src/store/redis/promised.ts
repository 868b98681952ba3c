import type { OperationName } from './library.ts';

/**
 * Whether the answer of an operation promises that something is stored, or was found stored: then it must not be given before
 * as many replicas hold it as are asked for. Answers that only tell what there is promise nothing, and what time brings about
 * is brought about again where it is lost.
 */
const PROMISES: Record<OperationName, 'always' | 'never' | 'grants' | 'refusals'> = {
  cancel: 'always',
  'cancel-operation': 'always',
  census: 'never',
  // Readiness is that what is promised can be kept.
  check: 'always',
  'close-receipt': 'always',
  configure: 'always',
  confirm: 'never',
  'count-dead': 'never',
  'create-operation': 'always',
  decline: 'always',
  disown: 'always',
  'drop-queue': 'always',
  'end-operation': 'always',
  enqueue: 'always',
  'forget-operation': 'always',
  get: 'never',
  lease: 'grants',
  'list-created': 'never',
  'list-finished': 'never',
  'lost-leases': 'never',
  // Who mends looks again.
  mend: 'never',
  // Before there is anything to keep: a broker may start before the replicas do.
  'open-data': 'never',
  operations: 'never',
  purge: 'always',
  'queue-names': 'never',
  queues: 'never',
  recall: 'always',
  receive: 'always',
  redrive: 'always',
  remove: 'always',
  'set-paused': 'always',
  settle: 'always',
  'step-operation': 'always',
  sweep: 'never',
  'take-receipt': 'always',
  // A refusal is final; that there is none promises nothing yet.
  'try-enqueue': 'refusals',
  'watch-queue': 'never',
};

/** Fields of a lease call's reply before its grants (lua/lease.lua). */
const BEFORE_GRANTS = 5;

export function mayPromise(operation: OperationName): boolean {
  return PROMISES[operation] !== 'never';
}

/** Whether this reply of the operation promises something. A reply of an unknown shape does. */
export function promises(operation: OperationName, reply: unknown): boolean {
  const promise = PROMISES[operation];
  if (promise !== 'grants' && promise !== 'refusals') return mayPromise(operation);
  const results: unknown = Array.isArray(reply) ? reply[2] : undefined;
  if (!Array.isArray(results)) return true;
  if (promise === 'refusals') return results.some((result: unknown) => result !== '');
  return results.some((result: unknown) => !Array.isArray(result) || result.length > BEFORE_GRANTS);
}
