import assert from 'node:assert/strict';
import { it } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { helpText, settingRows } from '../../src/startup/settings.ts';

it('names every setting in help with its flag, variable and default', () => {
  const help = helpText('1.2.3');
  assert.match(help, /^Lessor 1\.2\.3/);
  for (const { flag, variable, default: fallback, defaultNote } of settingRows()) {
    assert.ok(help.includes(`  ${flag} `), flag);
    assert.ok(help.includes(`${variable}, default: ${defaultNote ?? fallback}\n`), variable);
  }
  for (const line of help.split('\n')) assert.ok(line.length <= 120, line);
});

it('derives the variables and flags that are documented', () => {
  assert.deepEqual(
    settingRows().map(({ variable, flag }) => `${variable} ${flag}`),
    [
      'LESSOR_HOST --host',
      'LESSOR_PORT --port',
      'LESSOR_STORE --store',
      'LESSOR_DURABILITY --durability',
      'LESSOR_REDIS_CA_FILE --redis-ca-file',
      'LESSOR_REDIS_CERT_FILE --redis-cert-file',
      'LESSOR_REDIS_KEY_FILE --redis-key-file',
      'LESSOR_SENTINEL_USER --sentinel-user',
      'LESSOR_SENTINEL_PASSWORD --sentinel-password',
      'LESSOR_PREFIX --prefix',
      'LESSOR_SHARDS --shards',
      'LESSOR_KEYS_FILE --keys-file',
      'LESSOR_LOG_LEVEL --log-level',
      'LESSOR_MAX_WAITERS --max-waiters',
      'LESSOR_SHUTDOWN_MS --shutdown-ms',
      'LESSOR_INSECURE --insecure',
    ],
  );
});

it('accepts every default when it is written out', () => {
  const env = Object.fromEntries(
    settingRows().flatMap(({ variable, default: fallback }) => (fallback === null ? [] : [[variable, fallback]])),
  );
  const readFile = (): string => {
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
  };
  assert.deepEqual(loadConfig({ argv: [], env, readFile }), loadConfig({ argv: [], env: {}, readFile }));
});
