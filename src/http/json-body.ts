import { isUtf8 } from 'node:buffer';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseExactly } from '../domain/json-text.ts';
import { invalid, Problem } from './problem.ts';

/**
 * Makes JSON the only body that is read, with every digit kept. Nothing else has a parser, so any other
 * media type is refused with 415. An empty body counts as none.
 */
export function acceptJsonBodies(app: FastifyInstance): void {
  const secure = app.getDefaultJsonParser('error', 'ignore');

  /** Refuses `__proto__` keys; `constructor` is an ordinary key, because nothing here copies bodies by key. */
  const plain = (request: FastifyRequest, text: string): unknown => {
    let failed = false;
    let value: unknown;
    void secure(request, text, (error, parsed) => {
      failed = error !== null;
      value = parsed;
    });
    if (failed) throw malformed(text);
    return value;
  };

  app.removeAllContentTypeParsers();
  // As a buffer: decoding to a string first would turn bytes that are not UTF-8 into replacement characters.
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    if (body.length === 0) {
      done(null, undefined);
      return;
    }
    try {
      if (!isUtf8(body)) throw new Problem('malformed_request', 'The body is not UTF-8.');
      const text = body.toString('utf8');
      const bare = text.charCodeAt(0) === 0xfe_ff ? text.slice(1) : text;
      done(
        null,
        parseExactly(bare, (json) => plain(request, json)),
      );
    } catch (error) {
      done(error instanceof RangeError ? tooDeep() : (error as Error), undefined);
    }
  });
}

/** A stack overflow: such a body is nested far deeper than any limit. */
function tooDeep(): Problem {
  return invalid([{ pointer: '', detail: 'the body is nested too deeply' }]);
}

function malformed(text: string): Problem {
  try {
    JSON.parse(text);
  } catch (error) {
    return new Problem('malformed_request', `The body is not JSON: ${reason(error, text)}.`);
  }
  return new Problem(
    'malformed_request',
    'The body has a key named "__proto__", which is refused because it is used to attack JavaScript programs.',
  );
}

/** What the parser says, without the piece of the body that it quotes, and where. */
function reason(error: unknown, text: string): string {
  const message = error instanceof Error ? error.message : '';
  const [, position, line, column] = /at position (\d+) \(line (\d+) column (\d+)\)/.exec(message) ?? [];
  if (message.startsWith('Unexpected end') || Number(position) === text.length) {
    return `it ends too early, after ${text.length} characters`;
  }
  const [fault = 'unexpected text'] = / token '.+?'|^.*(?= (?:in|after) JSON)/su.exec(message) ?? [];
  const words = fault.startsWith(' token') ? `unexpected${fault}` : fault.charAt(0).toLowerCase() + fault.slice(1);
  return line === undefined ? words : `${words} at line ${line}, column ${column}`;
}
