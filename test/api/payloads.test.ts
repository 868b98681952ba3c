import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS } from '../../src/domain/limits.ts';
import { assertInvalid, assertProblem, onEveryStore } from './api-app.ts';

const nested = (depth: number, open = '[', close = ']'): string => open.repeat(depth) + close.repeat(depth);

/** JSON that has to come out byte by byte as it went in. */
const TEXTS: Record<string, string> = {
  'an empty list': '[]',
  'an empty object': '{}',
  null: 'null',
  false: 'false',
  zero: '0',
  'an empty text': '""',
  'empty things in lists': '[[],{},"",null,[{}]]',
  'a list 900 deep': nested(900),
  'a list 1000 deep': nested(1000),
  'objects 900 deep': `${'{"a":'.repeat(900)}1${'}'.repeat(900)}`,
  'a number beyond 2^53': '9007199254740993',
  'a number beyond 2^53 inside': '{"a":[9007199254740993,-9007199254740993]}',
  'thirty digits': '123456789012345678901234567890',
  'thirty decimals': '0.123456789012345678901234567891',
  'an exponent beyond doubles': '1e400',
  'a number below doubles': '[1e-400]',
  'text beyond the BMP': '"😀 𝒳"',
  'half a surrogate pair': '"\\ud83d"',
  'the other half': '["\\ude00"]',
  'control characters': '"\\u0000\\u0001\\u001f\\n\\t\\"\\\\/"',
  'what marks JSON on its way out': '{"\\u0001":"\\u0001","a":"\\"\\u0001"}',
  'separators of lines': '"\u2028\u2029"',
  'text that looks like JSON': '"{\\"a\\":[1,2]}"',
  'a key named constructor': '{"constructor":{"prototype":1},"toString":null}',
  'a key with a dot, a slash and a tilde': '{"a.b/c~d":{"":1}}',
  html: '"</script><!-- & \'"',
};

/** Like JSON.parse, but numbers compare by their digits. */
const digitsOf = (text: string): unknown =>
  JSON.parse(text, (_key: string, value: unknown, { source }: { source?: string }) =>
    typeof value === 'number' ? `number ${source}` : value,
  );

describe('payloads and other opaque JSON', () => {
  onEveryStore((app) => {
    for (const [name, text] of Object.entries(TEXTS)) {
      test(`${name} comes out as it went in, everywhere`, async () => {
        const queue = app().newQueue();
        const { body: posted } = await app().call('POST', '/tasks', { raw: `{"queue":"${queue}","payload":${text}}` });
        const granted = await app().get(`/tasks/lease?queue=${queue}&waitMs=0`);
        assert.ok(granted.text.includes(`"payload":${text},`), `leased: ${granted.text}`);

        const token = granted.body.tasks[0].lease.token;
        const settle = (verb: string, more: string) =>
          app().call('POST', `/tasks/${posted.id}/${verb}`, { raw: `{"leaseToken":"${token}",${more}}` });
        const fits = text.length < LIMITS.maxProgressBytes;
        if (fits) assert.equal((await settle('heartbeat', `"progress":${text},"checkpoint":${text}`)).status, 200);
        assert.equal((await settle('ack', `"result":${text}`)).status, 200);

        const { text: whole } = await app().get(`/tasks/${posted.id}`);
        for (const field of ['payload', 'progress', 'checkpoint', 'result']) {
          assert.ok(whole.includes(`"${field}":${text}`), `${field} of ${whole}`);
        }
        const { text: page } = await app().get(`/tasks?queue=${queue}&view=full`);
        assert.ok(page.includes(`"payload":${text},`), page);
      });
    }

    test('error details come out as they went in', async () => {
      const { id, token } = await app().leased();
      const details = '{"n":9007199254740993,"list":[],"object":{}}';
      const reply = await app().call('POST', `/tasks/${id}/nack`, {
        raw: `{"leaseToken":"${token}","error":{"details":${details}}}`,
      });
      assert.equal(reply.status, 200);
      const { text } = await app().get(`/tasks/${id}`);
      assert.ok(text.includes(`"details":${details}`), text);
    });

    test('white space and spelling may differ, the value may not', async () => {
      const { body } = await app().call('POST', '/tasks', { raw: '{"payload" : { "b" : 1.50, "a" : "\\u0041\\/" } }' });
      const { text } = await app().get(`/tasks/${body.id}`);
      const payload = /"payload":(\{.*?\})/.exec(text)?.[1] ?? '';
      assert.deepEqual(JSON.parse(payload), { b: 1.5, a: 'A/' });
      assert.deepEqual(Object.keys(JSON.parse(payload)), ['b', 'a']);
    });

    test('a batch keeps the digits of each of its payloads', async () => {
      const queue = app().newQueue();
      const numbers = ['9007199254740993', '1e400', '17', '0.10000000000000000000001'];
      const raw = `{"tasks":[${numbers.map((payload) => `{"queue":"${queue}","payload":${payload}}`).join(',')}]}`;
      assert.equal((await app().call('POST', '/tasks/batch', { raw })).status, 201);
      const { text } = await app().get(`/tasks/lease?queue=${queue}&max=10&waitMs=0`);
      const { tasks } = digitsOf(text) as { tasks: { payload: string }[] };
      assert.deepEqual(
        tasks.map(({ payload }) => payload),
        numbers.map((number) => `number ${number}`),
      );
    });

    test('a payload of 256 KiB is stored, one byte more is refused with 413', async () => {
      const largest = 'x'.repeat(LIMITS.maxPayloadBytes - 2);
      const { id } = await app().enqueue({ queue: app().newQueue(), payload: largest });
      assert.equal((await app().get(`/tasks/${id}`)).body.payload, largest);
      const [error] = assertProblem(await app().post('/tasks', { payload: `${largest}x` }), 413, 'payload_too_large');
      assert.equal(error?.pointer, '/payload');
      assert.match(error?.detail ?? '', /262145 bytes/);
    });

    test('sizes are counted in bytes of UTF-8', async () => {
      const half = 'ü'.repeat(LIMITS.maxPayloadBytes / 2);
      const [error] = assertProblem(await app().post('/tasks', { payload: half }), 413, 'payload_too_large');
      assert.equal(error?.pointer, '/payload');
      assert.equal((await app().post('/tasks', { payload: half.slice(1) })).status, 201);
    });

    test('a batch with an entry that is too large stores nothing and names it', async () => {
      const queue = app().newQueue();
      const large = { queue, payload: 'x'.repeat(LIMITS.maxPayloadBytes) };
      const errors = assertProblem(
        await app().post('/tasks/batch', { tasks: [{ queue }, large, { queue }, large] }),
        413,
        'payload_too_large',
      );
      assert.deepEqual(
        errors.map(({ pointer }) => pointer),
        ['/tasks/1/payload', '/tasks/3/payload'],
      );
      assert.equal((await app().get(`/queues/${queue}`)).status, 404);
    });

    test('results, progress, checkpoints and error details have limits of their own', async () => {
      const { id, token } = await app().leased();
      const settle = (verb: string, more: object) => app().post(`/tasks/${id}/${verb}`, { leaseToken: token, ...more });
      const text = (bytes: number): string => 'x'.repeat(bytes - 2);
      const pointerOf = async (verb: string, more: object): Promise<string | undefined> =>
        assertProblem(await settle(verb, more), 413, 'payload_too_large')[0]?.pointer;
      assert.equal(await pointerOf('heartbeat', { progress: text(LIMITS.maxProgressBytes + 1) }), '/progress');
      assert.equal(await pointerOf('heartbeat', { checkpoint: text(LIMITS.maxCheckpointBytes + 1) }), '/checkpoint');
      const details = { details: text(LIMITS.maxErrorDetailsBytes + 1) };
      assert.equal(await pointerOf('nack', { error: details }), '/error/details');
      assert.equal(await pointerOf('ack', { result: text(LIMITS.maxResultBytes + 1) }), '/result');
      const items = [{ id, op: 'ack', leaseToken: token, result: text(LIMITS.maxResultBytes + 1) }];
      const [error] = assertProblem(await app().post('/leases/settle', { items }), 413, 'payload_too_large');
      assert.equal(error?.pointer, '/items/0/result');

      const kept = { progress: text(LIMITS.maxProgressBytes), checkpoint: text(LIMITS.maxCheckpointBytes) };
      assert.equal((await settle('heartbeat', kept)).status, 200);
      const result = text(LIMITS.maxResultBytes);
      assert.equal((await settle('ack', { result })).status, 200);
      const { body } = await app().get(`/tasks/${id}`);
      assert.deepEqual({ progress: body.progress, checkpoint: body.checkpoint }, kept);
      assert.equal(body.result, result);
    });

    test('nesting beyond 1000 is refused and named, however deep it is', async () => {
      for (const depth of [1001, 5000, 200_000]) {
        const raw = `{"payload":${nested(depth)}}`;
        assertInvalid(await app().call('POST', '/tasks', { raw }), '/payload');
        const objects = `{"payload":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}`;
        assertInvalid(await app().call('POST', '/tasks', { raw: objects }), '/payload');
      }
      const batch = `{"tasks":[{},{"payload":${nested(1001)}}]}`;
      assertInvalid(await app().call('POST', '/tasks/batch', { raw: batch }), '/tasks/1/payload');
    });

    test('nesting beyond 1000 around a long number is refused', async () => {
      const deep = `{"payload":${'['.repeat(200_000)}9007199254740993${']'.repeat(200_000)}}`;
      assertProblem(await app().call('POST', '/tasks', { raw: deep }), 422, 'validation_failed');
    });

    test('an error message is cut after 4 KiB on a whole character', async () => {
      const { id, token } = await app().leased();
      const message = `${'x'.repeat(LIMITS.maxErrorMessageBytes - 2)}😀`;
      assert.equal((await app().post(`/tasks/${id}/nack`, { leaseToken: token, error: { message } })).status, 200);
      const { body } = await app().get(`/tasks/${id}`);
      assert.equal(body.lastError.message, 'x'.repeat(LIMITS.maxErrorMessageBytes - 2));
    });

    test('half a surrogate pair is refused where text is kept as text', async () => {
      const raw = (more: string): { raw: string } => ({ raw: `{${more}}` });
      assertInvalid(await app().call('POST', '/tasks', raw('"tags":["\\ud800"]')), '/tags/0');
      assertInvalid(await app().call('POST', '/tasks', raw('"metadata":{"a":"\\ud800"}')), '/metadata');
      const body = raw('"queue":"none","waitMs":0,"workerId":"\\udc00"');
      assertInvalid(await app().call('POST', '/tasks/lease', body), '/workerId');
    });
  });
});
