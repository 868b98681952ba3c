import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { canonicalJson, JSON_NULL, MAX_JSON_DEPTH, parseExactly, toJsonText } from '../../src/domain/json-text.ts';

const through = (text: string): string => toJsonText(parseExactly(text));

describe('JSON as text', () => {
  for (const text of [
    ...['9007199254740993', '-9007199254740993', '1e400', '-1e400', '123456789012345678901234567890'],
    ...['0.1234567890123456789', '1e-400', '12345678901234567.5', '3.0000000000000000001', '9e999999999'],
  ]) {
    it(`keeps a number that a double cannot hold: ${text}`, () => {
      assert.equal(through(text), text);
      assert.equal(through(`{"a":[${text},"${text}"]}`), `{"a":[${text},"${text}"]}`);
    });
  }

  for (const [text, value] of [
    ['0', 0],
    ['1', 1],
    ['0.1', 0.1],
    ['1.0', 1],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['9007199254740992', 2 ** 53],
    ['1e21', 1e21],
    ['100000000000000000000', 1e20],
    ['0.000000000000000000001', 1e-21],
    ['1.7976931348623157e308', Number.MAX_VALUE],
    ['5e-324', Number.MIN_VALUE],
    ['0.30000000000000004', 0.1 + 0.2],
    ['12.500000000000000000', 12.5],
    ['0e10', 0],
    ['0.00000000000000000000', 0],
  ] as const) {
    it(`is a plain number when a double holds it: ${text}`, () => {
      assert.equal(parseExactly(text), value);
      assert.equal(through(text), JSON.stringify(value));
    });
  }

  it('knows no sign of zero, as JSON.stringify does not', () => {
    assert.equal(parseExactly('-0'), -0);
    assert.equal(through('-0'), '0');
  });

  it('leaves strings that look like numbers alone', () => {
    for (const text of ['"9007199254740993"', '"1e400"', '{"9007199254740993":"1e999"}', '"a 123456789012345678 b"']) {
      assert.equal(through(text), text);
    }
  });

  it('keeps a large number next to strings and plain numbers', () => {
    const text = '{"a":"9007199254740993","b":9007199254740993,"c":[1,1.5,null,{"9007199254740993":true}]}';
    assert.equal(through(text), text);
  });

  it('refuses what is not JSON, with and without large numbers', () => {
    for (const text of ['', '{', '01', 'NaN', '9007199254740993,', '[9007199254740993', '+1e400']) {
      assert.throws(() => parseExactly(text), SyntaxError, text);
    }
  });

  it('parses by the parser it is given, whatever the numbers', () => {
    const refuse = (): never => {
      throw new SyntaxError('not by me');
    };
    assert.throws(() => parseExactly('1', refuse), /not by me/);
    assert.throws(() => parseExactly('9007199254740993', refuse), /not by me/);
  });

  it('brings any JSON back equal', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        assert.deepEqual(JSON.parse(through(text)), JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  it('keeps every integer, however long, perhaps as a mantissa and an exponent', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }), (integer) => {
        const [, sign, whole, fraction = '', exponent = '0'] =
          /^(-?)(\d+)(?:\.(\d+))?(?:e\+(\d+))?$/.exec(through(`${integer}`)) ?? [];
        assert.equal(BigInt(`${sign}${whole}${fraction}${'0'.repeat(Number(exponent) - fraction.length)}`), integer);
      }),
      { numRuns: 500 },
    );
  });

  it('writes null as null', () => {
    assert.equal(toJsonText(null), JSON_NULL);
  });

  const nested = (depth: number, open = '[', inner = '', close = ']'): string =>
    open.repeat(depth) + inner + close.repeat(depth);

  it('takes values nested as deep as allowed, and no deeper', () => {
    assert.equal(through(nested(900)), nested(900));
    assert.equal(through(nested(MAX_JSON_DEPTH)), nested(MAX_JSON_DEPTH));
    assert.throws(() => through(nested(MAX_JSON_DEPTH + 1)), RangeError);
    assert.throws(() => through(nested(MAX_JSON_DEPTH + 1, '{"a":', '1', '}')), RangeError);
    assert.throws(() => through(nested(MAX_JSON_DEPTH / 2 + 1, '[{"a":', '1', '}]')), RangeError);
  });

  it('counts no brackets in strings and keys', () => {
    for (const inner of ['['.repeat(5000), '{'.repeat(5000), '\\"['.repeat(2000), '\\\\'.repeat(2000)]) {
      const text = JSON.stringify([inner, { [inner]: inner }]);
      assert.equal(through(text), text);
    }
    const wide = `[${'[],'.repeat(5000)}[]]`;
    assert.equal(through(wide), wide);
  });

  it('writes equal objects alike, whatever the order of their keys', () => {
    const of = (text: string): string => canonicalJson(parseExactly(text));
    assert.equal(of('{"b":1,"a":{"d":[2,{"y":1,"x":2}],"c":3}}'), '{"a":{"c":3,"d":[2,{"x":2,"y":1}]},"b":1}');
    assert.equal(of('{"b":1,"a":2}'), of('{"a":2,"b":1}'));
    assert.notEqual(of('[1,2]'), of('[2,1]'));
    assert.notEqual(of('[]'), of('{}'));
    assert.notEqual(of('null'), of('"null"'));
  });

  it('tells numbers apart by every digit in the canonical form', () => {
    const of = (text: string): string => canonicalJson(parseExactly(text));
    assert.notEqual(of('9007199254740993'), of('9007199254740992'));
    assert.equal(of('{"a":9007199254740993}'), '{"a":9007199254740993}');
    assert.equal(of('1.0'), of('1'));
  });

  it('leaves out what is undefined, as JSON does', () => {
    assert.equal(canonicalJson({ b: undefined, a: 1 }), '{"a":1}');
  });
});
