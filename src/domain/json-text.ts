/**
 * JSON as text. Payloads, results, checkpoints and the like pass through the broker as opaque text, so
 * that `9007199254740993`, `[]` against `{}` and every digit come out as they went in.
 */
export type JsonText = string & { readonly __json: unique symbol };

declare global {
  // Shipped by V8, not yet in TypeScript's library (https://github.com/tc39/proposal-json-parse-with-source).
  interface JSON {
    parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
    rawJSON(text: string): object;
    isRawJSON(value: unknown): boolean;
  }
}

/** The JSON value `null`, as text. */
export const JSON_NULL = 'null' as JsonText;

/** Deeper nesting is refused: recursive readers in other languages give up at about a thousand. */
export const MAX_JSON_DEPTH = 1000;

/** Numbers a double may not hold: sixteen or more digits, or an exponent of two digits or more. */
const SUSPECT_NUMBER = /\d[\d.]{15,}|\d[eE][+-]?\d{2,}/;

/**
 * Parses JSON and keeps every digit: a number that a double cannot hold becomes a `JSON.rawJSON` object,
 * which `JSON.stringify` writes as it was read (ECMAScript "JSON.parse source text access").
 * @param plain the parser for text without such numbers
 * @throws SyntaxError when the text is not JSON
 */
export function parseExactly(text: string, plain: (text: string) => unknown = JSON.parse): unknown {
  const value = plain(text);
  if (!SUSPECT_NUMBER.test(text)) return value;
  return JSON.parse(text, (_key: string, item: unknown, context: { source?: string }) =>
    typeof item === 'number' && context.source !== undefined && !holds(item, context.source)
      ? JSON.rawJSON(context.source)
      : item,
  );
}

/** Whether the double `value` is exactly the decimal number `source`. */
function holds(value: number, source: string): boolean {
  return Number.isFinite(value) && decimal(String(value)) === decimal(source);
}

/** A decimal literal in one form: sign, digits without zeros at either end, and the exponent. */
function decimal(literal: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(literal) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  return `${sign}${significant}e${BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length)}`;
}

/**
 * Writes a parsed value as JSON text.
 * @throws RangeError when it is nested deeper than {@link MAX_JSON_DEPTH}
 */
export function toJsonText(value: unknown): JsonText {
  const text = JSON.stringify(value) as JsonText;
  if (text.length > 2 * MAX_JSON_DEPTH && depth(text) > MAX_JSON_DEPTH) {
    throw new RangeError(`nested deeper than ${MAX_JSON_DEPTH}`);
  }
  return text;
}

function depth(text: string): number {
  let deepest = 0;
  let open = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++;
    } else if (char === '[' || char === '{') {
      open++;
      if (open > deepest) deepest = open;
    } else if (char === ']' || char === '}') open--;
  }
  return deepest;
}

/** JSON text in which objects that are equal are written alike: keys sorted, digits kept. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object' && !JSON.isRawJSON(value)) {
    const entries = Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
