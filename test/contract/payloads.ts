import assert from 'node:assert/strict';
import type { JsonText } from '../../src/domain/json-text.ts';
import { held, json, type Theme } from './workbench.ts';

/** Texts that come back changed when anything on the way parses, escapes or cuts them. */
const TEXTS: Record<string, string> = {
  null: 'null',
  false: 'false',
  'an empty string': '""',
  'an empty array': '[]',
  'an empty object': '{}',
  'arrays and objects that are empty inside': '{"a":[],"b":{},"c":[[]],"d":[{}]}',
  'a number beyond doubles': '9007199254740993',
  'a number of thirty digits': '123456789012345678901234567890',
  'a number beyond all doubles': '1e400',
  'a fraction with a zero at its end': '1.10',
  'minus zero': '-0',
  'text beyond the basic plane': '"\u{1F600}\u{10FFFF}"',
  'escapes as they were written': '"\\u0041\\/\\u0000\\ud83d\\ude00"',
  'quotes and backslashes': '"\\"\\\\\\n"',
  'what a format might take for its own': '"%s %d {0} $1 KEYS[1] \'; DROP TABLE tasks; --"',
  'repeated and odd keys': '{"__proto__":1,"constructor":2,"":3,"a b":4}',
  'white space': ' { "a" : [ 1 , 2 ] }\n',
  'nested 900 deep': '['.repeat(900) + ']'.repeat(900),
  'objects nested 900 deep': `${'{"a":'.repeat(900)}1${'}'.repeat(900)}`,
};

/** Strings as people and machines write them. */
const WORDS = ['', ' ', 'ß', '\u{1F600}', "it's", '"quoted"', 'a\nb\tc', 'null', '0', '\u0000', '\\', '%', '{a}', 'é'];

export const payloads: Theme = {
  name: 'opaque values',
  rules(rule) {
    rule('a payload comes back as it went in, wherever it is read', async (bench) => {
      for (const [words, text] of Object.entries(TEXTS)) {
        const { id, payload } = await bench.put({ payload: text as JsonText });
        assert.equal(payload, text, words);
        assert.equal((await bench.get(id)).payload, text, words);
        const grant = await bench.take();
        assert.equal(grant.task.payload, text, words);
        await bench.ack(held(grant));
        assert.equal((await bench.list({ state: 'completed' })).at(-1)?.payload, text, words);
      }
    });

    rule('so do progress, checkpoint, result and an error’s details', async (bench) => {
      for (const [words, text] of Object.entries(TEXTS)) {
        if (text === 'null') continue;
        const value = text as JsonText;
        const claim = await bench.putAndTake();
        await bench.heartbeat(claim, { progress: value, checkpoint: value });
        await bench.nack(claim, { error: { code: null, message: null, details: value }, delayMs: 0 });
        const grant = await bench.take();
        const { progress, checkpoint, lastError } = grant.task;
        assert.deepEqual([progress, checkpoint, lastError?.details], [text, text, text], words);
        await bench.ack(held(grant), { result: value });
        assert.equal((await bench.get(claim.id)).result, text, words);
      }
    });

    rule('the largest payload and the largest result fit', async (bench) => {
      const text = json('x'.repeat(262_142));
      const claim = await bench.putAndTake({ payload: text });
      assert.equal(claim.task.payload, text);
      await bench.ack(claim, { result: text });
      const { payload, result } = await bench.get(claim.id);
      assert.ok(payload === text && result === text);
    });

    rule('words stay what they were: tags, metadata, worker, error, reason', async (bench) => {
      for (const word of WORDS) {
        const { id } = await bench.put({ tags: [word, word], metadata: { [word]: word, k: word } });
        const { task, token } = await bench.take({ workerId: word });
        assert.equal(task.lease?.workerId, word);
        assert.deepEqual([task.tags, task.metadata], [[word, word], { [word]: word, k: word }]);
        await bench.nack({ id, token }, { error: { code: word, message: word, details: null }, delayMs: 0 });
        const failed = await bench.get(id);
        assert.deepEqual([failed.lastError?.code, failed.lastError?.message], [word, word]);
        await bench.cancel(id, { reason: word });
        assert.deepEqual((await bench.get(id)).lastError?.message, word);
      }
    });

    rule('a null is told from an empty word', async (bench) => {
      const claim = await bench.putAndTake();
      await bench.nack(claim, { error: { code: '', message: null, details: null }, delayMs: 0 });
      const { lastError } = await bench.get(claim.id);
      assert.deepEqual([lastError?.code, lastError?.message], ['', null]);
    });
  },
};
