import assert from 'node:assert/strict';
import { test } from 'node:test';
import { preferredWait } from '../../src/http/prefer.ts';

test('the wait of a Prefer header is read in every form of RFC 7240', () => {
  const waits: [string | string[] | undefined, number | null][] = [
    [undefined, null],
    ['', null],
    ['wait=10', 10],
    ['WAIT=10', 10],
    ['wait = 10', 10],
    ['wait="10"', 10],
    ['wait=10; foo=bar', 10],
    ['respond-async, wait=10', 10],
    ['respond-async,wait=10,handling=lenient', 10],
    [['respond-async', 'wait=10'], 10],
    ['wait=0', 0],
    ['wait=007', 7],
    ['wait=100000000000000000000', 1e20],
  ];
  for (const [header, wait] of waits) assert.equal(preferredWait(header), wait, String(header));
});

test('of several waits the first counts', () => {
  assert.equal(preferredWait('wait=1, wait=2'), 1);
  assert.equal(preferredWait(['wait=3', 'wait=1']), 3);
});

test('what is not a whole number of seconds is no wait', () => {
  for (const header of [
    'wait',
    'wait=',
    'wait=-1',
    'wait=1.5',
    'wait=1s',
    'wait=ten',
    'wait="10',
    'waits=1',
    'x-wait=1',
  ]) {
    assert.equal(preferredWait(header), null, header);
  }
});

test('what another preference has between quotes is no wait', () => {
  assert.equal(preferredWait('x="a, wait=5"'), null);
  assert.equal(preferredWait('x="a\\", wait=5", wait=7'), 7);
  assert.equal(preferredWait('x=y; z="wait=5", wait=7'), 7);
  assert.equal(preferredWait('x="never closed, wait=5'), null);
});
