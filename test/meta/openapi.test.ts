import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { apiDocument, ROUTES } from '../../routes/index.ts';
import { LIMITS } from '../../src/domain/limits.ts';
import { PROBLEM_CODES } from '../../src/domain/problems.ts';

interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
}

interface Media {
  example?: unknown;
  examples?: Record<string, { $ref: string }>;
}

interface Described {
  operationId: string;
  summary: string;
  tags: string[];
  parameters?: { name: string; in: string; example?: unknown; schema: Schema }[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { content?: Record<string, Media>; headers?: Record<string, unknown> }>;
}

interface Document {
  openapi: string;
  tags: { name: string }[];
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, Schema>; examples: Record<string, { value: { status: number } }> };
}

const read = (path: string): object => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'));
const { version } = read('package.json') as { version: string };
const document = apiDocument(version) as Document;

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]): [string, string, Described] => [method, path, operation]),
);

/** Every object in the document with the path to it. */
function* objects(value: unknown, path = '#'): Generator<[string, Schema]> {
  if (value === null || typeof value !== 'object') return;
  yield [path, value];
  for (const [key, item] of Object.entries(value)) {
    // Examples are data: what is in them means nothing to the document.
    if (key !== 'example' && key !== 'examples') yield* objects(item, `${path}/${key}`);
  }
}

describe('the OpenAPI document', () => {
  test('openapi/openapi.json is what the routes say (npm run openapi writes it)', () => {
    assert.deepEqual(read('openapi/openapi.json'), JSON.parse(JSON.stringify(document)));
  });

  test('holds every route', () => {
    assert.equal(document.openapi, '3.1.0');
    assert.deepEqual(
      operations.map(([method, path]) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`).sort(),
      ROUTES.map(([method, url]) => `${method} ${url}`).sort(),
    );
  });

  test('names, tags and describes every operation, once', () => {
    const ids = operations.map(([, , { operationId }]) => operationId);
    assert.equal(new Set(ids).size, ids.length);
    const tags = new Set(document.tags.map(({ name }) => name));
    for (const [, path, operation] of operations) {
      assert.match(operation.operationId, /^[a-z][A-Za-z]+$/);
      assert.ok(operation.summary.length > 0, path);
      assert.ok(operation.tags.every((tag: string) => tags.has(tag)));
    }
  });

  test('has an example of every body, reply and path', () => {
    for (const [method, path, operation] of operations) {
      const where = `${method} ${path}`;
      if (operation.requestBody) {
        assert.ok(operation.requestBody.content['application/json']?.example !== undefined, where);
      }
      for (const parameter of operation.parameters ?? []) {
        if (parameter.in === 'path') assert.ok(parameter.example !== undefined, `${where} ${parameter.name}`);
      }
      for (const [status, { content }] of Object.entries(operation.responses)) {
        for (const media of Object.values(content ?? {})) {
          assert.ok(media.example !== undefined || media.examples !== undefined, `${where} ${status}`);
        }
      }
    }
  });

  test('its examples are valid by the schemas that check requests and replies', () => {
    for (const [method, url, { spec }] of ROUTES) {
      if (spec.body) {
        const result = spec.body.safeParse(spec.example);
        assert.ok(result.success, `${method} ${url} body: ${result.error?.message}`);
      }
      for (const [status, { schema, example }] of Object.entries(spec.replies)) {
        if (!schema) continue;
        const result = schema.safeParse(example);
        assert.ok(result.success, `${method} ${url} ${status}: ${result.error?.message}`);
        assert.deepEqual(result.data, example, `${method} ${url} ${status} knows every field of its example`);
      }
    }
  });

  test('lists problems as application/problem+json, each with its example', () => {
    for (const [method, path, operation] of operations) {
      assert.ok(operation.responses['422'] && operation.responses['500'], `${method} ${path}`);
      for (const [status, { content, headers }] of Object.entries(operation.responses)) {
        if (Number(status) < 400) continue;
        assert.deepEqual(Object.keys(content ?? {}), ['application/problem+json']);
        for (const [code, { $ref }] of Object.entries(content?.['application/problem+json']?.examples ?? {})) {
          assert.equal($ref, `#/components/examples/${code}`);
          assert.equal(document.components.examples[code]?.value.status, Number(status));
        }
        if (status === '429' || status === '503') assert.ok(headers?.['Retry-After']);
      }
    }
    assert.deepEqual(Object.keys(document.components.examples), PROBLEM_CODES);
  });

  test('is tidy: replies may grow, requests are strict, every reference leads somewhere, nothing is left over', () => {
    const requests = new Set<string>();
    const follow = (value: unknown): void => {
      for (const [, { $ref }] of objects(value)) {
        if (typeof $ref !== 'string' || requests.has($ref)) continue;
        requests.add($ref);
        follow(document.components.schemas[$ref.replace('#/components/schemas/', '')]);
      }
    };
    for (const [, , { requestBody }] of operations) follow(requestBody);

    const used = new Set<string>();
    for (const [path, object] of objects(document)) {
      if (typeof object.$ref === 'string') {
        used.add(object.$ref);
        let target: unknown = document;
        for (const key of object.$ref.slice(2).split('/')) target = Reflect.get(target ?? {}, key);
        assert.ok(target, `${path} refers to ${object.$ref}`);
      }
      if (object.additionalProperties === false) {
        const isRequest =
          path.includes('/requestBody/') || [...requests].some((ref) => path === ref || path.startsWith(`${ref}/`));
        assert.ok(isRequest, `${path} forbids fields of a reply`);
      }
      if (typeof object.pattern === 'string') assert.ok(object.pattern.length < 60, `${path}: ${object.pattern}`);
      for (const bound of [object.maximum, object.minimum]) {
        if (typeof bound === 'number') assert.ok(Math.abs(bound) < Number.MAX_SAFE_INTEGER, path);
      }
      assert.ok(!('$schema' in object) && !('$defs' in object), path);
    }
    for (const name of Object.keys(document.components.schemas)) {
      assert.ok(used.has(`#/components/schemas/${name}`), `${name} is used`);
    }
  });

  test('times are date-times and durations are whole ms', () => {
    for (const [path, object] of objects(document.components.schemas)) {
      for (const [name, property] of Object.entries(object.properties ?? {})) {
        const types = [property.type].flat();
        if (name.endsWith('At')) assert.equal(property.format, 'date-time', `${path} ${name}`);
        if (name.endsWith('Ms')) assert.ok(types.includes('integer'), `${path} ${name}`);
      }
    }
  });

  test('its bounds are those of GET /limits', () => {
    const { schemas } = document.components;
    assert.equal(schemas['NewTask']?.properties?.['leaseMs']?.minimum, LIMITS.minLeaseMs);
    assert.equal(schemas['NewTaskBatch']?.properties?.['tasks']?.maxItems, LIMITS.maxBatch);
    const max = document.paths['/tasks/lease']?.['get']?.parameters?.find(({ name }) => name === 'max');
    assert.deepEqual(max?.schema, { type: 'integer', minimum: 1, maximum: LIMITS.maxLease, default: 1 });
  });
});
