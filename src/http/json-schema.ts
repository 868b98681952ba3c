import { z } from 'zod';

export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** What a value is on the wire, where its zod schema cannot tell, as with a transform. */
export const wire = z.registry<{ schema: JsonSchema }>();

/** Values that a reply is given as JSON text, to go out as it is. On the wire they are any JSON. */
export const rawJson = z.registry<object>();

/**
 * The JSON Schema (2020-12) of a zod schema, tidied for people and code generators: no bounds that only say
 * "a safe integer", `null` as one more type, and replies that may grow fields.
 * @param io `input`: what clients send; `output`: what they get
 * @param raw what stands for {@link rawJson} values
 */
export function toJsonSchema(schema: z.ZodType, io: 'input' | 'output', raw: JsonSchema = {}): JsonSchema {
  const { $schema: _, ...tidy } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      const known = wire.get(zodSchema);
      if (known) {
        for (const key of Object.keys(jsonSchema)) delete jsonSchema[key];
        Object.assign(jsonSchema, known.schema);
      }
      if (rawJson.has(zodSchema)) Object.assign(jsonSchema, raw);
      // Left out by zod where a transform follows.
      if (zodSchema instanceof z.ZodDefault && io === 'input') jsonSchema.default = zodSchema.def.defaultValue;
      if (jsonSchema.minItems === 0) delete jsonSchema.minItems;
      if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      delete jsonSchema.propertyNames;
      foldNull(jsonSchema);
    },
  });
  return tidy;
}

/** `anyOf: [X, null]` as X with one more type, where X is not a reference. */
function foldNull(schema: JsonSchema): void {
  const [first, second] = schema.anyOf ?? [];
  if (schema.anyOf?.length !== 2 || typeof first !== 'object' || typeof second !== 'object') return;
  if (second.type !== 'null' || typeof first.type !== 'string') return;
  delete schema.anyOf;
  Object.assign(schema, first, { type: [first.type, 'null'] });
  if (first.enum) schema.enum = [...first.enum, null];
}
