import { z } from 'zod';
import { NAME_PATTERN } from '../../src/domain/names.ts';
import { type JsonSchema, rawJson, wire } from '../../src/http/json-schema.ts';
import { fromRfc3339 } from '../../src/http/time.ts';

/** The building blocks of requests. Each says in plain words what it allows, whatever was wrong with the value. */

type Words = (issue: { input?: unknown }) => string;

/** @param ifNull what is said about `null` instead */
const rule =
  (words: string, ifNull = words): Words =>
  ({ input }) =>
    input === undefined ? `is required, and ${words}` : input === null ? ifNull : words;

const digits = /^(?:0|[1-9]\d{0,15})$/;

export function wholeNumber(min: number, max: number, ifNull?: string): z.ZodInt {
  const error = rule(`must be a whole number from ${min} to ${max}`, ifNull);
  return z.int({ error }).min(min, { error }).max(max, { error });
}

export function fraction(min: number, max: number): z.ZodNumber {
  const error = rule(`must be a number from ${min} to ${max}`);
  return z.number({ error }).min(min, { error }).max(max, { error });
}

/** A whole number in a query string. */
export function wholeNumberParam(min: number, max: number): z.ZodType<number, string> {
  const words = `must be a whole number from ${min} to ${max}, given once`;
  return z
    .string({ error: rule(words) })
    .refine((value) => digits.test(value) && Number(value) >= min && Number(value) <= max, { error: words })
    .transform(Number)
    .register(wire, { schema: { type: 'integer', minimum: min, maximum: max } });
}

/** `true` or `false` in a query string; the bare name means `true`. */
export function flagParam(): z.ZodType<boolean, string> {
  return z
    .enum(['true', 'false', ''], { error: rule('must be true or false, given once') })
    .transform((value) => value !== 'false')
    .register(wire, { schema: { type: 'boolean' } });
}

export function flag(): z.ZodBoolean {
  return z.boolean({ error: rule('must be true or false') });
}

export const NAME_RULE =
  'must be a name of 1 to 128 letters, digits, ".", "_", ":" and "-", of which the first is a letter or digit';

/** The name of a queue or type. */
export function name(): z.ZodString {
  const error = rule(NAME_RULE);
  return z.string({ error }).regex(NAME_PATTERN, { error });
}

/** Text of `min` to `max` characters (code points), with nothing in it that UTF-8 cannot hold. */
export function text(max: number, min = 1): z.ZodString {
  const error = rule(`must be text of ${min} to ${max} characters`);
  return z
    .string({ error })
    .refine((value) => value.length >= min && (value.length <= max || codePoints(value) <= max), { error })
    .refine((value) => value.isWellFormed(), { error: 'must be well-formed Unicode: it has half a surrogate pair' })
    .register(wire, { schema: { type: 'string', minLength: min, maxLength: max } });
}

function codePoints(value: string): number {
  let points = 0;
  for (const _ of value) points++;
  return points;
}

/** One of a few words. */
export function oneOf<const Values extends readonly [string, ...string[]]>(
  values: Values,
): z.ZodEnum<{ [Value in Values[number]]: Value }> {
  return z.enum(values, { error: rule(`must be one of ${values.join(', ')}`) });
}

/** A time as RFC 3339; ms since the epoch afterwards. */
export function time(): z.ZodType<number, string> {
  const error = rule('must be an RFC 3339 time such as 2030-01-31T09:30:00Z');
  return z
    .string({ error })
    .transform((value, context) => {
      const ms = fromRfc3339(value);
      if (ms !== null) return ms;
      context.addIssue({ code: 'custom', message: error({ input: value }) });
      return z.NEVER;
    })
    .register(wire, { schema: { type: 'string', format: 'date-time' } });
}

/** A text that must pass a check of its own. */
export function checkedText(check: (value: string) => boolean, words: string, schema: JsonSchema): z.ZodString {
  const error = rule(words);
  return z
    .string({ error })
    .refine(check, { error })
    .register(wire, { schema: { type: 'string', ...schema } });
}

/** Items of one kind, `min` to `max` of them. */
export function list<Item extends z.ZodType>(item: Item, min: number, max: number, what: string): z.ZodArray<Item> {
  const error = rule(`must be a list of ${min} to ${max} ${what}`);
  return z.array(item, { error }).min(min, { error }).max(max, { error });
}

/** JSON that a reply hands through as text. */
export function throughJson(): z.ZodUnknown {
  return z.unknown().register(rawJson, {});
}

/** A time of a reply. */
export function timestamp(): z.ZodString {
  return z.string().meta({ format: 'date-time' });
}

/** A number of things or of ms in a reply. */
export function count(): z.ZodInt {
  return z.int().min(0);
}
