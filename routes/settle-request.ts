import type { AckRequest, SettleRequest } from '../src/broker/broker.ts';
import type { JsonText } from '../src/domain/json-text.ts';
import { LIMITS } from '../src/domain/limits.ts';
import type { JsonFields } from '../src/http/json-fields.ts';
import type { SettleBody } from './schemas/settle.ts';

/** No UTF-16 unit takes more bytes than this in UTF-8. */
const MAX_BYTES_PER_UNIT = 3;

const encoder = new TextEncoder();

/** {@link toSettleRequest} for an ack. */
export function toAckRequest(
  body: { id: string; leaseToken: string; result?: unknown },
  json: JsonFields,
  pointer = '',
): AckRequest {
  const { id, leaseToken: token, result } = body;
  return {
    verb: 'ack',
    id,
    token,
    result: result === undefined ? null : json.text(result, LIMITS.maxResultBytes, `${pointer}/result`),
  };
}

/**
 * What the broker is asked to do for a validated body.
 * @param json takes note of what is too large
 * @param pointer where the body is in the request
 */
export function toSettleRequest(body: SettleBody, json: JsonFields, pointer = ''): SettleRequest {
  const held = { id: body.id, token: body.leaseToken };
  const opaque = (value: unknown, maxBytes: number, field: string): JsonText | null =>
    value === undefined ? null : json.text(value, maxBytes, `${pointer}/${field}`);

  switch (body.op) {
    case 'ack':
      return toAckRequest(body, json, pointer);
    case 'nack':
      return {
        ...held,
        verb: 'nack',
        error: body.error
          ? {
              code: body.error.code ?? null,
              message: cut(body.error.message ?? null),
              details: opaque(body.error.details, LIMITS.maxErrorDetailsBytes, 'error/details'),
            }
          : null,
        retryable: body.retryable,
        delayMs: body.delayMs ?? null,
      };
    case 'release':
      return { ...held, verb: 'release', delayMs: body.delayMs ?? null };
    case 'heartbeat':
      return {
        ...held,
        verb: 'heartbeat',
        leaseMs: body.leaseMs ?? null,
        progress: opaque(body.progress, LIMITS.maxProgressBytes, 'progress'),
        checkpoint: opaque(body.checkpoint, LIMITS.maxCheckpointBytes, 'checkpoint'),
      };
  }
}

/** An error message as far as it is kept: whole code points, and nothing that UTF-8 cannot hold. */
function cut(message: string | null): string | null {
  if (message === null) return null;
  const text = message.slice(0, LIMITS.maxErrorMessageBytes).toWellFormed();
  if (text.length * MAX_BYTES_PER_UNIT <= LIMITS.maxErrorMessageBytes) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(LIMITS.maxErrorMessageBytes));
  return text.slice(0, read);
}
