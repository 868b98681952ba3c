import { JSON_NULL, type JsonText, toJsonText } from '../domain/json-text.ts';
import { LIMITS } from '../domain/limits.ts';
import { type Fault, invalid, tooLarge } from './problem.ts';

/** No UTF-16 unit takes more bytes than this in UTF-8. */
const MAX_BYTES_PER_UNIT = 3;

/** Turns the opaque values of one request back into JSON text, and notes which of them are too large or too deep. */
export class JsonFields {
  readonly #tooDeep: Fault[] = [];
  readonly #tooLarge: Fault[] = [];

  /** The value as JSON text; what is refused is only noted, so that all of it can be named. */
  text(value: unknown, maxBytes: number, pointer: string): JsonText {
    let text: JsonText;
    try {
      text = toJsonText(value);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#tooDeep.push({ pointer, detail: `must not be nested deeper than ${LIMITS.maxJsonDepth}` });
      return JSON_NULL;
    }
    if (text.length * MAX_BYTES_PER_UNIT > maxBytes) {
      const bytes = Buffer.byteLength(text);
      if (bytes > maxBytes) {
        this.#tooLarge.push({ pointer, detail: `has ${bytes} bytes of JSON; at most ${maxBytes} are allowed` });
      }
    }
    return text;
  }

  /** @throws Problem when any value was refused */
  check(): void {
    if (this.#tooDeep.length > 0) throw invalid(this.#tooDeep);
    if (this.#tooLarge.length > 0) throw tooLarge(this.#tooLarge);
  }
}
