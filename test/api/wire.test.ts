import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { z } from 'zod';
import { throughJson, timestamp } from '../../routes/schemas/fields.ts';
import { task } from '../../routes/schemas/task.ts';
import { type JsonText, toJsonText } from '../../src/domain/json-text.ts';
import { fingerprint, idempotencyKeyOf } from '../../src/http/idempotency.ts';
import { Problem } from '../../src/http/problem.ts';
import { raw, serialiserOf } from '../../src/http/serialisation.ts';
import { fromRfc3339, toRfc3339 } from '../../src/http/time.ts';
import { isTraceparent, isTracestate, traceOf } from '../../src/http/trace-context.ts';

describe('times', () => {
  test('RFC 3339 is read with any offset, cut to whole ms', () => {
    const times: Record<string, string> = {
      '2030-01-31T09:30:00Z': '2030-01-31T09:30:00.000Z',
      '2030-01-31t09:30:00.1z': '2030-01-31T09:30:00.100Z',
      '2030-01-31T09:30:00.123999Z': '2030-01-31T09:30:00.123Z',
      '2030-01-31T09:30:00+05:30': '2030-01-31T04:00:00.000Z',
      '2030-01-31T23:30:00-01:00': '2030-02-01T00:30:00.000Z',
      '2030-01-31T00:00:00-00:00': '2030-01-31T00:00:00.000Z',
      '2028-02-29T00:00:00Z': '2028-02-29T00:00:00.000Z',
      '2016-12-31T23:59:60Z': '2017-01-01T00:00:00.000Z',
      '0001-01-01T00:00:00Z': '0001-01-01T00:00:00.000Z',
    };
    for (const [text, expected] of Object.entries(times)) {
      const ms = fromRfc3339(text);
      assert.ok(ms !== null, text);
      assert.equal(new Date(ms).toISOString(), expected, text);
    }
  });

  test('what is not a time is none', () => {
    for (const text of [
      '',
      'now',
      '2030-01-31',
      '2030-01-31T09:30Z',
      '2030-01-31T09:30:00',
      '2030-01-31 09:30:00Z',
      '2030-02-29T00:00:00Z',
      '2030-00-10T00:00:00Z',
      '2030-13-01T00:00:00Z',
      '2030-04-31T00:00:00Z',
      '2030-01-31T24:00:00Z',
      '2030-01-31T09:60:00Z',
      '2030-01-31T09:30:61Z',
      '2030-01-31T09:30:00.Z',
      '2030-01-31T09:30:00+24:00',
      '2030-01-31T09:30:00+0530',
      '+2030-01-31T09:30:00Z',
      ' 2030-01-31T09:30:00Z',
      '2030-01-31T09:30:00Z\n',
    ]) {
      assert.equal(fromRfc3339(text), null, JSON.stringify(text));
    }
  });

  test('every time written is read as the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }), (ms) => {
        assert.equal(fromRfc3339(toRfc3339(ms)), ms);
      }),
    );
  });
});

describe('trace context', () => {
  const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

  test('a traceparent is taken as W3C has it', () => {
    for (const text of [valid, valid.replace(/^00/, 'cc'), `${valid.replace(/^00/, '01')}-more`]) {
      assert.ok(isTraceparent(text), text);
    }
    for (const text of [
      '',
      valid.toUpperCase(),
      valid.replace(/^00/, 'ff'),
      `${valid}-more`,
      `${valid} `,
      valid.slice(1),
      `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
      `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01`,
      `${valid.replace(/^00/, '01')}-${'x'.repeat(300)}`,
    ]) {
      assert.ok(!isTraceparent(text), text);
    }
  });

  test('a tracestate is taken as W3C has it', () => {
    for (const text of ['a=1', 'a=1,b=2', 'tenant@vendor=x y', 'a=1, ,b=2', `a=${'x'.repeat(256)}`]) {
      assert.ok(isTracestate(text), text);
    }
    for (const text of [
      '',
      ',',
      'a',
      'A=1',
      'a=',
      'a=ü',
      'a=b=c',
      `a=${'x'.repeat(257)}`,
      Array(33).fill('a=1').join(),
    ]) {
      assert.ok(!isTracestate(text), text);
    }
  });

  test('headers that are not valid count as absent', () => {
    assert.deepEqual(traceOf({ traceparent: valid, tracestate: 'Bad' }), { traceparent: valid, tracestate: null });
    assert.equal(traceOf({ traceparent: 'bad', tracestate: 'a=1' }), null);
    assert.equal(traceOf({}), null);
  });
});

describe('idempotency', () => {
  test('a quoted key is the key without its quotes', () => {
    const keys: Record<string, string> = { k: 'k', '"k"': 'k', '"a\\"b\\\\c"': 'a"b\\c', 'a"b': 'a"b', '!~': '!~' };
    for (const [header, key] of Object.entries(keys)) {
      assert.equal(idempotencyKeyOf({ 'idempotency-key': header }), key);
    }
    assert.equal(idempotencyKeyOf({}), null);
  });

  test('anything else is refused', () => {
    for (const header of ['', '"', '""', '"a', '"a"b"', 'a b', 'ü', 'x'.repeat(256), `"${'x'.repeat(256)}"`]) {
      assert.throws(() => idempotencyKeyOf({ 'idempotency-key': header }), Problem, header);
    }
  });

  test('the fingerprint does not depend on the order of keys, and does on everything else', () => {
    assert.equal(fingerprint({ a: 1, b: { d: [], c: null } }), fingerprint({ b: { c: null, d: [] }, a: 1 }));
    const different = [{ a: 1 }, { a: '1' }, { a: [1] }, { a: null }, {}, { a: {} }, { a: [] }, { a: 1, b: 1 }];
    assert.equal(new Set(different.map(fingerprint)).size, different.length);
    const digits = ['9007199254740993', '9007199254740992', '9007199254740993.0'].map((n) => JSON.rawJSON(n));
    assert.equal(new Set(digits.map((a) => fingerprint({ a }))).size, 3);
  });
});

describe('serialisation', () => {
  const schema = z.object({
    text: z.string(),
    json: throughJson(),
    at: timestamp().nullable(),
    list: z.array(z.object({ json: throughJson().optional() })),
    more: z.record(z.string(), z.string()),
  });
  const serialise = serialiserOf(schema);

  test('raw JSON goes out byte by byte between fields that are escaped', () => {
    fc.assert(
      fc.property(fc.json(), fc.string({ unit: 'binary' }), fc.json(), (json, text, other) => {
        const reply = {
          text,
          json: raw(json as JsonText),
          at: null,
          list: [{ json: raw(other as JsonText) }, {}],
          more: { [text]: text },
        };
        const written = serialise(reply);
        assert.ok(written.includes(`"json":${json},"at":null`), written);
        assert.ok(written.includes(`[{"json":${other}},{}]`), written);
        const { text: read, more } = JSON.parse(written);
        assert.equal(read, text);
        assert.deepEqual(more, JSON.parse(JSON.stringify({ [text]: text })));
      }),
    );
  });

  test('text that looks like what marks raw JSON stays text', () => {
    const text = '\u0001{"a":1}\u0001';
    const json = toJsonText({ '"\u0001': text });
    const written = serialise({ text, json: raw(json), at: null, list: [], more: { [text]: text } });
    assert.deepEqual(JSON.parse(written), {
      text,
      json: { '"\u0001': text },
      at: null,
      list: [],
      more: { [text]: text },
    });
  });

  test('a field that is missing is left out rather than refused', () => {
    assert.equal(serialiserOf(task)({ id: 'x' }), '{"id":"x"}');
  });
});
