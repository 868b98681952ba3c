import type { FastifyReply } from 'fastify';
import { PROBLEMS, type ProblemCode } from '../domain/problems.ts';
import { type ProblemDocument, problemDocument, sendProblem } from './problem.ts';

/** Longer names than any real one are cut where they are quoted. */
const MAX_QUOTED = 128;

/** What a refusal says about the task or queue that it is about. */
const DETAILS: Partial<Record<ProblemCode, (name: string) => string>> = {
  task_not_found: (id) => `There is no task ${id}.`,
  queue_not_found: (queue) => `There is no queue ${queue}.`,
  operation_not_found: (id) => `There is no operation ${id}, or it ended long ago.`,
  lease_lost: (id) => `The token no longer holds task ${id}: the lease ran out, or the task went to somebody else.`,
  already_settled: (id) => `Task ${id} has ended or been settled already, in another way. Nothing was changed.`,
  task_cancelled: (id) => `Task ${id} was cancelled. Nothing was changed.`,
  task_active: (id) => `Task ${id} has not ended yet. Cancel it first.`,
  not_redrivable: (id) => `Task ${id} is neither dead nor cancelled nor expired.`,
  unique_conflict: (name) => `Another task holds the unique key of ${name}. Nothing was changed.`,
  queue_full: (queue) => `Queue ${queue} holds as many tasks as its maxBacklog allows. Nothing was stored.`,
  queue_not_empty: (queue) =>
    `Queue ${queue} still holds waiting, leased or dead tasks. Use force=true to delete them.`,
};

/** What a refusal of an operation on `name`, a task or a queue, says. */
export function refusalDetail(code: ProblemCode, name: string): string {
  const quoted = JSON.stringify(name.length > MAX_QUOTED ? `${name.slice(0, MAX_QUOTED)}…` : name);
  return DETAILS[code]?.(quoted) ?? PROBLEMS[code].help;
}

/** Answers with the refusal of an operation on `name`. */
export function sendRefusal(reply: FastifyReply, code: ProblemCode, name: string): FastifyReply {
  return sendProblem(reply, code, refusalDetail(code, name));
}

/** The refusal of one entry of a batch. */
export function refusedTask(code: ProblemCode, id: string): ProblemDocument {
  return problemDocument(code, refusalDetail(code, id), `/tasks/${encodeURIComponent(id.toWellFormed())}`);
}
