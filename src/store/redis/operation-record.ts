import { OPERATION_STATES } from '../../domain/operation.ts';
import type { OperationRecord } from '../store.ts';
import * as replies from './replies.ts';

/** An operation as jobs.lua shows it; null for ''. */
export function operationRecord(reply: unknown): OperationRecord | null {
  if (reply === '') return null;
  const [id, queue, state, createdAt, finishedAt, ratePerSec, seen, total, matched, moved, to] = replies.list(reply);
  const known = OPERATION_STATES.find((name) => name === state);
  if (known === undefined) throw new replies.UnexpectedReply('the state of an operation', reply);
  return {
    ...{
      id: replies.text(id),
      queue: replies.text(queue),
      to: to === '' ? null : replies.text(to),
      state: known,
      createdAt: replies.number(createdAt),
      finishedAt: replies.maybeNumber(finishedAt),
    },
    ...{ ratePerSec: replies.maybeNumber(ratePerSec), seen: replies.number(seen), total: replies.number(total) },
    ...{ matched: replies.number(matched), moved: replies.number(moved) },
  };
}
