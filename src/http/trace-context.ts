import type { IncomingHttpHeaders } from 'node:http';
import { LIMITS } from '../domain/limits.ts';
import type { Trace } from '../domain/task.ts';

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.+)?$/;
const TRACESTATE_MEMBER = /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}$/;
const MAX_TRACESTATE_MEMBERS = 32;
const MAX_TRACEPARENT_LENGTH = 256;

/** Whether it is a traceparent by https://www.w3.org/TR/trace-context/; later versions may carry more parts. */
export function isTraceparent(text: string): boolean {
  if (text.length > MAX_TRACEPARENT_LENGTH) return false;
  const [, version, traceId, parentId, more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return false;
  return !/^0+$/.test(traceId ?? '') && !/^0+$/.test(parentId ?? '');
}

/** Whether it is a tracestate of a length that is kept. */
export function isTracestate(text: string): boolean {
  if (text.length > LIMITS.maxTraceStateLength) return false;
  const members = text
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
  return (
    members.length > 0 &&
    members.length <= MAX_TRACESTATE_MEMBERS &&
    members.every((member) => TRACESTATE_MEMBER.test(member))
  );
}

/** The trace that a request belongs to. As the standard has it, what is not valid is as good as absent. */
export function traceOf(headers: IncomingHttpHeaders): Trace | null {
  const { traceparent, tracestate } = headers;
  if (typeof traceparent !== 'string' || !isTraceparent(traceparent)) return null;
  return { traceparent, tracestate: typeof tracestate === 'string' && isTracestate(tracestate) ? tracestate : null };
}
