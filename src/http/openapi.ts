import type { HTTPMethods } from 'fastify';
import { z } from 'zod';
import { PROBLEM_CODES, PROBLEMS, type ProblemCode } from '../domain/problems.ts';
import { type JsonSchema, toJsonSchema } from './json-schema.ts';
import { EVERYWHERE, type Operation, type OperationSpec, type ReplySpec, TAGS } from './operation.ts';
import { PROBLEM_MEDIA_TYPE, problemDocument } from './problem.ts';

/** One line of the list of routes. */
export type Route<Deps> = readonly [method: HTTPMethods, url: string, operation: Operation<Deps>];

type Json = Record<string, unknown>;

const INTRODUCTION = `Lessor is a task broker over plain HTTP. Producers post tasks; workers long-poll for a *lease* on a task, do the
work and acknowledge it. What a worker does not finish comes back. Delivery is at least once.

Durations are whole milliseconds and end in \`Ms\`; times are RFC 3339 in UTC. Fields and query parameters that are
not known are refused. Errors are problem documents (RFC 9457) with a stable \`code\`, and \`retryable\` says whether the same
request may succeed later.`;

/** The OpenAPI 3.1 document of the routes, made of the schemas that validate and serialise them. */
export function openApiDocument(
  routes: readonly Route<never>[],
  { version, problem }: { version: string; problem: z.ZodType },
): Json {
  const schemas = new Components();
  const paths: Record<string, Json> = {};
  for (const [method, url, { spec }] of routes) {
    const path = url.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = describe(spec, schemas, problem);
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Lessor', version, description: INTRODUCTION, license: { name: 'MIT', identifier: 'MIT' } },
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: schemas.sorted(),
      examples: Object.fromEntries(PROBLEM_CODES.map((code) => [code, problemExample(code)])),
    },
  };
}

/** Schemas with a name of their own. */
class Components {
  readonly #named = new Map<string, JsonSchema>();

  /** The schema, or a reference to it when it has a name. */
  add(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
    // Wrapped, because a schema with a name is written as a reference only below another one.
    const { properties, $defs = {} } = toJsonSchema(z.object({ wrapped: schema }), io);
    for (const [name, definition] of Object.entries($defs)) {
      const moved = withReferences(definition);
      const known = this.#named.get(name);
      if (known && JSON.stringify(known) !== JSON.stringify(moved)) throw new Error(`two schemas are called ${name}`);
      this.#named.set(name, moved);
    }
    return withReferences(properties?.['wrapped'] as JsonSchema);
  }

  sorted(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#named].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function withReferences(schema: JsonSchema): JsonSchema {
  const {
    $id: _,
    id: __,
    ...moved
  } = JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')) as JsonSchema & {
    id?: unknown;
  };
  return moved;
}

function describe(spec: OperationSpec, schemas: Components, problem: z.ZodType): Json {
  const parameters = [
    ...parametersIn('path', spec.params, schemas),
    ...parametersIn('query', spec.query, schemas),
    ...Object.entries(spec.headers ?? {}).map(([name, description]) => ({
      name,
      in: 'header',
      description,
      schema: { type: 'string' },
    })),
  ];
  const operation: Json = { operationId: spec.id, tags: [spec.tag], summary: spec.summary };
  if (spec.description !== undefined) operation['description'] = spec.description;
  if (parameters.length > 0) operation['parameters'] = parameters;
  if (spec.body) {
    operation['requestBody'] = {
      required: spec.bodyOptional !== true,
      content: { 'application/json': { schema: schemas.add(spec.body, 'input'), example: spec.example } },
    };
  }
  operation['responses'] = {
    ...Object.fromEntries(
      Object.entries(spec.replies).map(([status, reply]) => [status, describeReply(reply, schemas)]),
    ),
    ...describeProblems([...EVERYWHERE, ...spec.problems], schemas.add(problem, 'output')),
  };
  return operation;
}

function parametersIn(place: 'path' | 'query', schema: z.ZodObject | undefined, schemas: Components): Json[] {
  if (!schema) return [];
  return Object.entries(schemas.add(schema, 'input').properties ?? {}).map(([name, property]) => {
    const { description, examples: [example] = [], ...rest } = property as JsonSchema;
    const parameter: Json = { name, in: place };
    if (place === 'path') parameter['required'] = true;
    if (description !== undefined) parameter['description'] = description;
    parameter['schema'] = rest;
    if (example !== undefined) parameter['example'] = example;
    return parameter;
  });
}

function describeReply({ description, schema, example, headers, mediaType }: ReplySpec, schemas: Components): Json {
  const reply: Json = { description };
  if (headers) reply['headers'] = describeHeaders(headers);
  if (schema) {
    reply['content'] = { [mediaType ?? 'application/json']: { schema: schemas.add(schema, 'output'), example } };
  } else if (mediaType !== undefined) reply['content'] = { [mediaType]: {} };
  return reply;
}

function describeHeaders(headers: Record<string, string>): Json {
  return Object.fromEntries(
    Object.entries(headers).map(([name, words]) => [name, { description: words, schema: { type: 'string' } }]),
  );
}

/** One response per status; those that share one are told apart by their code. */
function describeProblems(codes: readonly ProblemCode[], schema: JsonSchema): Json {
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of codes) {
    const { status } = PROBLEMS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, alike]) => {
      const response: Json = { description: alike.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' ') };
      if (status === 429 || status === 503) {
        response['headers'] = describeHeaders({ 'Retry-After': 'Seconds after which to try again.' });
      }
      response['content'] = {
        [PROBLEM_MEDIA_TYPE]: {
          schema,
          examples: Object.fromEntries(alike.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
        },
      };
      return [String(status), response];
    }),
  );
}

function problemExample(code: ProblemCode): Json {
  const errors =
    code === 'validation_failed' ? [{ pointer: '/priority', detail: 'must be a whole number from 0 to 9' }] : undefined;
  return { summary: PROBLEMS[code].title, value: problemDocument(code, PROBLEMS[code].help, '/tasks', errors) };
}
