import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodyOf, httpFraming, httpRequest, statusOf } from '../../bench/load/http.ts';
import { heldOf } from '../../bench/load/lessor-session.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}';

test('a reply is whole when as many bytes have come as its header says', () => {
  for (let length = 0; length < OK.length; length++) assert.equal(httpFraming(OK.slice(0, length)), null);
  assert.equal(httpFraming(OK), OK.length);
  assert.equal(httpFraming(`${OK}HTTP/1.1 200 OK`), OK.length);
  assert.equal(statusOf(OK), 200);
  assert.equal(bodyOf(OK), '{}');
});

test('a reply without a body ends with its headers, whatever comes after it', () => {
  const empty = 'HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n';
  assert.equal(httpFraming(empty), empty.length);
  assert.equal(httpFraming(empty + OK), empty.length);
});

test('a reply in chunks is refused instead of being misread', () => {
  assert.throws(() => httpFraming('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'), /chunks/);
});

test('the length of a request is that of its body in bytes', () => {
  assert.match(httpRequest('POST', '/tasks', '{"a":1}'), /\r\nContent-Length: 7\r\n\r\n\{"a":1\}$/);
  assert.match(httpRequest('GET', '/tasks/lease'), /^GET \/tasks\/lease HTTP\/1\.1\r\nHost: 127\.0\.0\.1\r\n\r\n$/);
});

test('every task of a lease reply is read with its token', () => {
  const task = (id: string, token: string): string => `{"id":"${id}","payload":{},"lease":{"token":"${token}"}}`;
  const body = `{"tasks":[${task('a', 'x')},${task('b', 'y')}]}`;
  assert.deepEqual(heldOf(`HTTP/1.1 200 OK\r\n\r\n${body}`), [
    { id: 'a', token: 'x' },
    { id: 'b', token: 'y' },
  ]);
  assert.deepEqual(heldOf('HTTP/1.1 200 OK\r\n\r\n{"tasks":[]}'), []);
});
