import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { LIMITS } from '../../src/domain/limits.ts';
import { STORE_HARNESSES } from '../support/stores.ts';
import { until } from '../support/until.ts';
import { ApiApp, assertInvalid, assertProblem, type Reply } from './api-app.ts';

/** Sends bytes as they are and reads until the server ends the connection. */
async function exchange(port: number, ...parts: (string | Buffer)[]): Promise<Reply> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => {});
  for (const part of parts) socket.write(part);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  const [head = '', body = ''] = text.split('\r\n\r\n');
  const [line = '', ...headers] = head.split('\r\n');
  return {
    status: Number(line.split(' ')[1]),
    headers: Object.fromEntries(
      headers.map((header) => {
        const colon = header.indexOf(':');
        return [header.slice(0, colon).toLowerCase(), header.slice(colon + 1).trim()];
      }),
    ),
    text: body,
    body: body === '' ? undefined : JSON.parse(body),
  };
}

const harness = STORE_HARNESSES.sqlite();
let app: ApiApp;
before(async () => {
  app = await ApiApp.start(harness);
});
after(async () => {
  await app.stop();
  await harness.stop();
});

describe('bodies', () => {
  const post = (raw: string | Buffer, headers: Record<string, string> = {}): Promise<Reply> =>
    app.call('POST', '/tasks', { raw, headers });

  test('what is not JSON is malformed, with a word on where', async () => {
    const bad: Record<string, RegExp> = {
      '{"payload":': /ends too early, after 11 characters/,
      '{"payload":{"a":1}': /ends too early, after 18 characters/,
      '{"payload":"x': /ends too early/,
      '{"payload":1,}': /line 1, column 14/,
      "{'payload':1}": /line 1, column 2/,
      '{"payload":01}': /line 1, column 13/,
      '{"a":1}{"b":2}': /line 1, column 8/,
      '{\n"payload": tru\n}': /unexpected token/,
      secret: /unexpected token 's'/,
      NaN: /unexpected text/,
    };
    for (const [raw, detail] of Object.entries(bad)) {
      const reply = await post(raw);
      assertProblem(reply, 400, 'malformed_request');
      assert.match(reply.body.detail, detail);
      assert.doesNotMatch(reply.body.detail, /secret|tru\b|payload/, 'no piece of the body comes back');
    }
  });

  test('bytes that are not UTF-8 are malformed', async () => {
    const reply = await post(
      Buffer.concat([Buffer.from('{"payload":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
    );
    assertProblem(reply, 400, 'malformed_request');
    assert.match(reply.body.detail, /UTF-8/);
    const truncated = Buffer.from('{"payload":"😀"}');
    assertProblem(await post(Buffer.concat([truncated.subarray(0, 14), Buffer.from('"}')])), 400, 'malformed_request');
  });

  test('a byte order mark does no harm', async () => {
    assert.equal((await post('\ufeff{"payload":9007199254740993}')).status, 201);
  });

  test('__proto__ is refused as a key, however deep and however spelt, and fine as text', async () => {
    for (const raw of [
      '{"__proto__":{"admin":true}}',
      '{"payload":{"a":[{"__proto__":1}]}}',
      '{"payload":{"\\u005f_proto__":1}}',
      '{"payload":{"__proto__":9007199254740993}}',
    ]) {
      const reply = await post(raw);
      assertProblem(reply, 400, 'malformed_request');
      assert.match(reply.body.detail, /__proto__/);
    }
    assert.equal((await post('{"payload":"__proto__"}')).status, 201);
  });

  test('only JSON is taken', async () => {
    const types = [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/xml',
      'nonsense',
      'multipart/form-data; boundary=x',
    ];
    for (const type of types) {
      assertProblem(await post('{}', { 'content-type': type }), 415, 'unsupported_media_type');
    }
    assertProblem(await post('{}', { 'content-type': '' }), 415, 'unsupported_media_type');
    assert.equal((await post('{}', { 'content-type': 'application/json; charset=utf-8' })).status, 201);
    assert.equal((await post('{}', { 'content-type': 'Application/JSON' })).status, 201);
  });

  test('a body where one is needed must be there, and be an object', async () => {
    assertInvalid(await app.post('/tasks'), '');
    assertInvalid(await post(''), '');
    for (const raw of ['null', '[]', '"text"', '7', 'true']) assertInvalid(await post(raw), '');
  });

  test('larger than 8 MiB is refused, by its length or while it comes', async () => {
    const large = Buffer.alloc(LIMITS.maxBodyBytes + 1, ' ');
    assertProblem(await post(large), 413, 'payload_too_large');
    const chunks = 'x'.repeat(65_536);
    const chunked = `${chunks.length.toString(16)}\r\n${chunks}\r\n`.repeat(130);
    const head =
      'POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
    assertProblem(await exchange(app.port, head, chunked), 413, 'payload_too_large');
  });

  test('routes that take none accept an empty one and refuse fields', async () => {
    const queue = app.newQueue();
    await app.enqueue({ queue });
    for (const options of [{}, { raw: '' }, { raw: '{}' }, { raw: 'null' }]) {
      assert.equal((await app.call('POST', `/queues/${queue}/pause`, options)).status, 200);
    }
    assertInvalid(await app.post(`/queues/${queue}/pause`, { a: 1, b: 2 }), '/a', '/b');
    assertInvalid(await app.call('POST', `/queues/${queue}/pause`, { raw: '[]' }), '');
  });

  test('every field of a task is checked, and every fault is named at once', async () => {
    const bad: [object, ...string[]][] = [
      [{ priority: 10 }, '/priority'],
      [{ priority: -1 }, '/priority'],
      [{ priority: 4.5 }, '/priority'],
      [{ priority: '4' }, '/priority'],
      [{ priority: null }, '/priority'],
      [{ queue: '' }, '/queue'],
      [{ queue: null }, '/queue'],
      [{ queue: ['a'] }, '/queue'],
      [{ type: '' }, '/type'],
      [{ type: 'a b' }, '/type'],
      [{ type: 'x'.repeat(129) }, '/type'],
      [{ delayMs: -1 }, '/delayMs'],
      [{ delayMs: 1e21 }, '/delayMs'],
      [{ ttlMs: 0 }, '/ttlMs'],
      [{ ttlMs: 366 * 86_400_000 + 1 }, '/ttlMs'],
      [{ leaseMs: 99, maxAttempts: 1001 }, '/leaseMs', '/maxAttempts'],
      [{ backoff: 'fixed' }, '/backoff'],
      [{ backoff: { type: 'none', base: 1 } }, '/backoff/type', '/backoff/base'],
      [{ backoff: { jitter: 2 } }, '/backoff/jitter'],
      [{ tags: 'eu' }, '/tags'],
      [{ tags: Array(17).fill('t') }, '/tags'],
      [{ tags: ['ok', '', 7, 'x'.repeat(129)] }, '/tags/1', '/tags/2', '/tags/3'],
      [{ metadata: [] }, '/metadata'],
      [{ metadata: { a: 1, 'b/c~d': null } }, '/metadata/a', '/metadata/b~1c~0d'],
      [{ metadata: Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`k${index}`, ''])) }, '/metadata'],
      [{ metadata: { a: 'x'.repeat(4096) } }, '/metadata'],
      [{ trace: 'x' }, '/trace'],
      [{ trace: {} }, '/trace/traceparent'],
      [{ trace: { traceparent: '00-1-1-00', traceState: '' } }, '/trace/traceparent', '/trace/traceState'],
      [{ group: 'g', unique: { keys: 'k' }, uniqueKey: 'k' }, '/group', '/unique/keys', '/unique/key', '/uniqueKey'],
      [{ id: 'mine' }, '/id'],
      [{ '': 1 }, '/'],
      [{ priority: 'high', delayMs: 'soon', tags: 5, extra: true }, '/priority', '/delayMs', '/tags', '/extra'],
    ];
    for (const runAt of [
      '',
      'tomorrow',
      '2030-01-31',
      '2030-02-30T00:00:00Z',
      '2030-01-31T24:00:00Z',
      '2030-01-31T00:00:00',
      '2030-01-31 00:00:00Z',
      1_900_000_000,
    ]) {
      bad.push([{ runAt }, '/runAt']);
    }
    for (const [body, ...pointers] of bad) assertInvalid(await app.post('/tasks', body), ...pointers);
  });

  test('details say what is allowed, and unknown fields what was meant', async () => {
    const detail = async (body: object): Promise<string> =>
      (await app.post('/tasks', body)).body.errors[0]?.detail ?? '';
    assert.equal(await detail({ priority: 10 }), 'must be a whole number from 0 to 9');
    assert.equal(await detail({ delay_ms: 5 }), 'unknown field; did you mean "delayMs"?');
    assert.equal(await detail({ Payload: 5 }), 'unknown field; did you mean "payload"?');
    assert.equal(await detail({ zzz: 5 }), 'unknown field');
    assert.match(await detail({ queue: 'a b' }), /1 to 128 letters/);
    const { body } = await app.post('/tasks', { priority: 10, zzz: 1 });
    assert.equal(body.detail, '/priority: must be a whole number from 0 to 9 (and 1 more)');
    assert.equal(body.instance, '/tasks');
  });

  test('unknown query parameters are refused everywhere', async () => {
    for (const path of ['/', '/limits', '/problems', '/livez', '/queues', '/queues/q/stats', '/tasks']) {
      assertInvalid(await app.get(`${path}?nonsense=1`), '/nonsense');
    }
    assertInvalid(await app.post('/tasks?dryRun=true', {}), '/dryRun');
  });
});

describe('paths and methods', () => {
  test('nothing is served elsewhere', async () => {
    const paths = [
      '/nope',
      '/tasks/',
      '/queues/',
      '/tasks/a/b',
      '/tasks/a/ack/b',
      '/queue',
      '/queues/q/redrives',
      '/operations',
      '/operations/1/stop',
      '/metrics',
      '//tasks',
      '/TASKS',
    ];
    for (const path of paths) {
      const reply = await app.get(path);
      assertProblem(reply, 404, 'route_not_found');
      assert.equal(reply.body.instance, path);
      assert.equal(reply.headers['cache-control'], 'no-store');
    }
    assertProblem(
      await app.call('POST', '/nope', { raw: 'not json', headers: { 'content-type': 'text/plain' } }),
      404,
      'route_not_found',
    );
  });

  test('the instance has no query', async () => {
    assert.equal((await app.get('/nope?token=secret')).body.instance, '/nope');
    assert.doesNotMatch((await app.get('/nope?token=secret')).text, /secret/);
  });

  test('a known path with another method is 405 and tells those it has', async () => {
    const bad: [string, string, string][] = [
      ['PUT', '/tasks', 'GET, HEAD, POST'],
      ['DELETE', '/tasks', 'GET, HEAD, POST'],
      ['DELETE', '/tasks/lease', 'GET, POST'],
      ['HEAD', '/tasks/lease', 'GET, POST'],
      ['GET', '/tasks/batch', 'POST'],
      ['DELETE', '/tasks/batch', 'POST'],
      ['GET', '/tasks/x/ack', 'POST'],
      ['PATCH', '/tasks/x', 'DELETE, GET, HEAD'],
      ['GET', '/leases/settle', 'POST'],
      ['POST', '/queues', 'GET, HEAD'],
      ['POST', '/queues/q', 'DELETE, GET, HEAD, PATCH, PUT'],
      ['GET', '/queues/q/pause', 'POST'],
      ['POST', '/limits', 'GET, HEAD'],
      ['POST', '/docs', 'GET, HEAD'],
      ['DELETE', '/openapi.json', 'GET, HEAD'],
      ['OPTIONS', '/tasks', 'GET, HEAD, POST'],
    ];
    for (const [method, path, allow] of bad) {
      const reply = await app.call(method, path);
      if (method === 'HEAD') assert.equal(reply.status, 405);
      else assertProblem(reply, 405, 'method_not_allowed');
      assert.deepEqual(String(reply.headers.allow).split(', ').sort(), allow.split(', ').sort(), `${method} ${path}`);
    }
  });

  test('a wrong method is told before the body is read', async () => {
    const reply = await app.call('PUT', '/tasks', { raw: 'not json', headers: { 'content-type': 'text/plain' } });
    assertProblem(reply, 405, 'method_not_allowed');
  });

  test('methods that nothing here has are 405 too', async () => {
    for (const method of ['PROPFIND', 'PURGE'])
      assertProblem(await app.call(method, '/tasks'), 405, 'method_not_allowed');
  });

  test('a malformed percent-encoding in the path is malformed', async () => {
    for (const path of ['/tasks/%zz', '/queues/%']) {
      const reply = await app.get(path, { 'x-request-id': 'mine' });
      assertProblem(reply, 400, 'malformed_request');
      assert.equal(reply.headers['x-request-id'], 'mine');
      assert.equal(reply.body.instance, path);
    }
  });

  test('a part of a path beyond all measure is malformed', async () => {
    assertProblem(await app.get(`/tasks/${'x'.repeat(3000)}`), 400, 'malformed_request');
  });

  test('nothing under /tasks, /leases and /queues may be cached, nor taken for another type', async () => {
    for (const [method = '', path = ''] of [
      ['GET', '/tasks'],
      ['GET', '/tasks/x'],
      ['GET', '/tasks/lease?waitMs=0&queue=none'],
      ['POST', '/leases/settle'],
      ['GET', '/queues'],
      ['GET', '/queues/x/stats'],
    ]) {
      const { headers } = await app.call(method, path);
      assert.equal(headers['cache-control'], 'no-store', path);
      assert.equal(headers['x-content-type-options'], 'nosniff', path);
    }
  });
});

describe('request ids', () => {
  test('a sane one is taken over', async () => {
    for (const id of ['a', 'req-17/α'.replace('/α', ':x'), 'x'.repeat(128)]) {
      assert.equal((await app.get('/livez', { 'x-request-id': id })).headers['x-request-id'], id);
    }
  });

  test('any other is replaced, and each request has one of its own', async () => {
    const seen = new Set<string>();
    for (const id of ['', 'x'.repeat(129), 'a b', 'a,b', 'a"b', "a'b", 'a\\b', 'ü'.normalize()]) {
      const { headers } = await app.get('/livez', { 'x-request-id': id });
      const given = String(headers['x-request-id']);
      assert.notEqual(given, id);
      assert.match(given, /^[\w-]{8,}$/);
      seen.add(given);
    }
    assert.equal(seen.size, 8);
  });
});

describe('the request log', () => {
  test('has one line per request at debug level, with neither payload nor query', async () => {
    const talkative = await ApiApp.start(harness, { logLevel: 'debug' });
    const secret = 'correct-horse';
    try {
      await talkative.call('POST', `/tasks?key=${secret}`, { body: { payload: secret } });
      await talkative.post('/tasks', { payload: secret }, { 'x-request-id': 'mine' });
      await talkative.get(`/tasks/${secret}?key=${secret}`);
      await talkative.get(`/nope/${secret}`);
      const lines = await until(() => {
        const found = talkative.logged.map((line) => JSON.parse(line) as Record<string, unknown>);
        return found.length >= 4 ? found : null;
      });
      assert.deepEqual(
        lines.map(({ method, route, status }) => [method, route, status]),
        [
          ['POST', '/tasks', 422],
          ['POST', '/tasks', 201],
          ['GET', '/tasks/:id', 422],
          ['GET', '(none)', 404],
        ],
      );
      assert.equal(lines[1]?.['reqId'], 'mine');
      for (const { ms, level } of lines) assert.ok(typeof ms === 'number' && ms >= 0 && level === 20);
      assert.ok(!talkative.logged.join('').includes(secret));
    } finally {
      await talkative.stop();
    }
  });

  test('costs nothing and says nothing at info level', async () => {
    const quiet = await ApiApp.start(harness, { logLevel: 'info' });
    try {
      await quiet.post('/tasks', {});
      await quiet.post('/tasks', { priority: 10 });
      assert.deepEqual(quiet.logged, []);
    } finally {
      await quiet.stop();
    }
  });
});

describe('what the HTTP parser refuses is a problem document too', () => {
  const cases: Record<string, { bytes: string; status?: number; detail: RegExp }> = {
    'a request line that is none': { bytes: 'NONSENSE\r\n\r\n', detail: /not valid HTTP/ },
    'a header that is none': { bytes: 'GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n', detail: /not valid HTTP/ },
    'two lengths': {
      bytes: 'POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
      detail: /not valid HTTP/,
    },
    'a length and chunks': {
      bytes: 'POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}',
      detail: /not valid HTTP/,
    },
    'headers that are too long': {
      bytes: `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(70_000)}\r\n\r\n`,
      detail: /too long/,
    },
    'a path that is too long': { bytes: `GET /${'x'.repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, detail: /too long/ },
    'a missing Host': { bytes: 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n', detail: /Host header is missing/ },
    'an expectation': {
      bytes: 'POST /tasks HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nConnection: close\r\n\r\n',
      detail: /Expect/,
    },
  };
  for (const [name, { bytes, detail }] of Object.entries(cases)) {
    test(name, async () => {
      const reply = await exchange(app.port, bytes);
      assertProblem(reply, 400, 'malformed_request');
      assert.match(reply.body.detail, detail);
      assert.equal(Number(reply.headers['content-length']), Buffer.byteLength(reply.text));
      assert.equal(String(reply.headers.connection).toLowerCase(), 'close');
    });
  }

  test('a request that is not sent to its end in time', async () => {
    const slow = await ApiApp.start(harness, { requestTimeoutMs: 60 });
    try {
      const reply = await exchange(slow.port, 'POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n');
      assertProblem(reply, 400, 'malformed_request');
      assert.match(reply.body.detail, /in time/);
    } finally {
      await slow.stop();
    }
  });

  test('a request cut off in its body stores nothing and leaves the server whole', async () => {
    const socket = connect(app.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      'POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"queue":"cut"',
    );
    socket.destroy();
    assert.equal((await app.get('/livez')).status, 200);
    assert.equal((await app.get('/queues/cut')).status, 404);
    assert.deepEqual(app.logged, []);
  });
});
