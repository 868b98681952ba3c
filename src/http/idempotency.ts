import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { canonicalJson } from '../domain/json-text.ts';
import { LIMITS } from '../domain/limits.ts';
import { invalid } from './problem.ts';

export const IDEMPOTENCY_KEY_PATTERN = new RegExp(`^[\\x21-\\x7e]{1,${LIMITS.maxIdempotencyKeyLength}}$`);
export const IDEMPOTENCY_KEY_RULE = `must be 1 to ${LIMITS.maxIdempotencyKeyLength} visible ASCII characters, no spaces`;

const HEADER_POINTER = '/headers/idempotency-key';
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"$/;

/**
 * The key in the `Idempotency-Key` header, or null when there is none. It may be quoted, as the IETF draft
 * has it: `"k"` is the same key as `k`.
 * @throws Problem `validation_failed`
 */
export function idempotencyKeyOf(headers: IncomingHttpHeaders): string | null {
  const header = headers['idempotency-key'];
  if (header === undefined) return null;
  const text = typeof header === 'string' ? header : header.join(', ');
  const key = text.startsWith('"') ? QUOTED.exec(text)?.[1]?.replaceAll(/\\(["\\])/g, '$1') : text;
  if (key === undefined || !IDEMPOTENCY_KEY_PATTERN.test(key)) {
    throw invalid([{ pointer: HEADER_POINTER, detail: `${IDEMPOTENCY_KEY_RULE}, bare or in double quotes` }]);
  }
  return key;
}

/**
 * Refuses the header where one key cannot stand for a whole batch.
 * @throws Problem `validation_failed`
 */
export function refuseIdempotencyKeyHeader(headers: IncomingHttpHeaders): void {
  if (headers['idempotency-key'] === undefined) return;
  throw invalid([
    { pointer: HEADER_POINTER, detail: 'not for a batch: give each of its tasks an "idempotencyKey" of its own' },
  ]);
}

/**
 * A digest of what was asked for: SHA-256 in hex. The order of keys does not matter, nor whether a default is
 * spelt out; digits do.
 */
export function fingerprint(validated: unknown): string {
  return createHash('sha256').update(canonicalJson(validated)).digest('hex');
}
