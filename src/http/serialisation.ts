import fastJson from 'fast-json-stringify';
import type { FastifySerializerCompiler } from 'fastify';
import type { z } from 'zod';
import type { JsonText } from '../domain/json-text.ts';
import { type JsonSchema, toJsonSchema } from './json-schema.ts';

/**
 * Stands around JSON text on its way through the serialiser. A control character never occurs as such in
 * JSON, so `"` next to it can only be the quote that the serialiser put around such a text.
 */
const MARK = '\u0001';
const OPENING = `"${MARK}`;
const CLOSING = `${MARK}"`;

/**
 * JSON text as a value of a reply: it goes out byte by byte as it is, unparsed, so that digits, escapes and
 * the order of keys survive, however deep it is nested.
 */
export function raw(text: JsonText): string;
export function raw(text: JsonText | null): string | null;
export function raw(text: JsonText | null): string | null {
  return text === null ? null : MARK + text + MARK;
}

/** Writes a reply as JSON. */
export type Serialise = (reply: unknown) => string;

/** How the serialiser is told to put a text between quotes and leave it alone otherwise. */
const UNTOUCHED: JsonSchema = { type: ['string', 'null'], format: 'unsafe' };

const compiled = new WeakMap<z.ZodType, Serialise>();

/**
 * The serialiser of a reply's schema, built once, for the first reply that needs it: all of them together would
 * be a good part of the start. It writes the fields that the schema knows, and never fails for one that is
 * missing: by then the work has been done, and a 500 would deny it.
 */
export function serialiserOf(schema: z.ZodType): Serialise {
  let serialise = compiled.get(schema);
  if (!serialise) {
    let write: Serialise | null = null;
    serialise = (reply) => splice((write ??= writerOf(schema))(reply));
    compiled.set(schema, serialise);
  }
  return serialise;
}

function writerOf(schema: z.ZodType): Serialise {
  const json = toJsonSchema(schema, 'output', UNTOUCHED);
  return fastJson(plan(json, json.$defs ?? {}));
}

export const serializerCompiler: FastifySerializerCompiler<z.ZodType> = ({ schema }) => serialiserOf(schema);

function splice(text: string): string {
  return text.includes(MARK) ? text.replaceAll(OPENING, '').replaceAll(CLOSING, '') : text;
}

/** The little of a schema that the serialiser needs: what is left out would only make it check. */
function plan(schema: JsonSchema, defs: Record<string, JsonSchema>): Record<string, unknown> {
  if (schema.$ref !== undefined) {
    const target = defs[schema.$ref.replace('#/$defs/', '')];
    if (!target) throw new Error(`unresolved reference ${schema.$ref}`);
    return plan(target, defs);
  }
  const [option, other] = schema.anyOf ?? [];
  if (typeof option === 'object' && typeof other === 'object' && other.type === 'null') {
    return { ...plan(option, defs), nullable: true };
  }
  const types = [schema.type].flat();
  const planned: Record<string, unknown> = { type: types.find((type) => type !== 'null') };
  if (types.includes('null')) planned['nullable'] = true;
  if (schema.format === 'date-time' || schema.format === 'unsafe') planned['format'] = schema.format;
  if (typeof schema.items === 'object' && !Array.isArray(schema.items)) planned['items'] = plan(schema.items, defs);
  if (typeof schema.additionalProperties === 'object') {
    planned['additionalProperties'] = plan(schema.additionalProperties, defs);
  }
  if (schema.properties) {
    planned['properties'] = Object.fromEntries(
      Object.entries(schema.properties).map(([name, property]) => [
        name,
        typeof property === 'object' ? plan(property, defs) : {},
      ]),
    );
  }
  return planned;
}
