import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ROUTES } from '../../routes/index.ts';
import { serialiserOf } from '../../src/http/serialisation.ts';

test('every reply has a serialiser, which is built only when the reply is first sent and does not fail for missing fields', () => {
  const schemas = ROUTES.flatMap(([method, url, { spec }]) =>
    Object.entries(spec.replies).flatMap(([status, { schema }]) =>
      schema === undefined ? [] : [{ what: `${method} ${url} ${status}`, schema }],
    ),
  );
  assert.ok(schemas.length > 20);
  for (const { what, schema } of schemas) assert.doesNotThrow(() => JSON.parse(serialiserOf(schema)({})), what);
});
