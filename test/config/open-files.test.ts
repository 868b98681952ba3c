import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionBounds, parseOpenFilesLimit } from '../../src/startup/open-files.ts';

test('the limit of open files is the soft one of /proc/self/limits', () => {
  const limits =
    'Limit                     Soft Limit           Hard Limit           Units     \n' +
    'Max processes             95812                95812                processes \n' +
    'Max open files            20000                524288               files     \n';
  assert.equal(parseOpenFilesLimit(limits), 20_000);
  assert.equal(parseOpenFilesLimit('something else'), null);
  assert.equal(
    parseOpenFilesLimit('Max open files            unlimited            unlimited            files     \n'),
    null,
  );
});

test('fewer long-polls are held than connections fit, so that the next poll can be told 429', () => {
  const { maxWaiters, maxConnections } = connectionBounds(20_000, 20_000);
  assert.ok(maxConnections !== null && maxConnections < 20_000);
  assert.ok(maxWaiters < maxConnections && maxWaiters > 15_000);
});

test('a setting below what the process could hold stands', () => {
  assert.equal(connectionBounds(100, 20_000).maxWaiters, 100);
  assert.deepEqual(connectionBounds(20_000, null), { maxWaiters: 20_000, maxConnections: null });
});
