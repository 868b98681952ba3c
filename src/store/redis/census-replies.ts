import { FAULTS, type Fault, type Finding } from '../census.ts';
import * as replies from './replies.ts';

/** A part of what is stored, as one look found it (lua/census.lua). */
export interface Look {
  answer: unknown;
  findings: Finding[];
}

export function look(reply: unknown): Look {
  const [answer, findings] = replies.list(reply);
  return { answer, findings: replies.list(findings).map(finding) };
}

function finding(reply: unknown): Finding {
  const [fault, queue, subject, detail, mended] = replies.list(reply).map(replies.text);
  if (!isFault(fault) || subject === undefined || detail === undefined)
    throw new replies.UnexpectedReply('a fault', reply);
  return { fault, queue: queue === '' || queue === undefined ? null : queue, subject, detail, mended: mended === '1' };
}

function isFault(text: string | undefined): text is Fault {
  return text !== undefined && Object.hasOwn(FAULTS, text);
}

/** A sorted set that takes more than one look. */
export interface MemberSet {
  queue: string;
  kind: string;
  /** A state, a priority, a group, or ''. */
  more: string;
}

/** {queue, kind, more} each. */
export function keySets(reply: unknown): MemberSet[] {
  return replies.list(reply).map((set) => {
    const [queue = '', kind = '', more = ''] = replies.list(set).map(replies.text);
    return { queue, kind, more };
  });
}

/** {kind, more} each, of one queue. */
export function queueSets(queue: string, reply: unknown): MemberSet[] {
  return replies.list(reply).map((set) => {
    const [kind = '', more = ''] = replies.list(set).map(replies.text);
    return { queue, kind, more };
  });
}

/** Tasks with their places in a line. */
export interface Standing {
  id: string;
  place: string;
}

export function standing(reply: unknown): Standing[] {
  const flat = replies.list(reply).map(replies.text);
  const found: Standing[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) found.push({ id: flat[at] ?? '', place: flat[at + 1] ?? '' });
  return found;
}
