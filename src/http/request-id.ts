import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Visible ASCII without what separates or quotes in headers and logs. */
const SANE = /^[\x21\x23-\x26\x28-\x2b\x2d-\x5b\x5d-\x7e]{1,128}$/;

/** Tells processes apart; the count tells requests apart. */
const PROCESS = randomBytes(6).toString('base64url');
let count = 0;

/** The client's X-Request-Id when it is fit for logs, or a new one. */
export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && SANE.test(given) ? given : `${PROCESS}-${(count++).toString(36)}`;
}
