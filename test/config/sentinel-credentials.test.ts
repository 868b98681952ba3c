import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LoadedConfig, loadConfig } from '../../src/config.ts';

const SENTINELS = 'redis+sentinel://user:of-the-data@h/main';

describe('credentials for Sentinels', () => {
  const load = (env: Record<string, string>): LoadedConfig =>
    loadConfig({
      argv: [],
      env: { LESSOR_STORE: SENTINELS, ...env },
      readFile(path) {
        if (path === 'secret') return 'from a file\n';
        throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      },
    });

  function sentinels(env: Record<string, string>): unknown {
    const result = load(env);
    assert.equal(result.outcome, 'loaded', JSON.stringify(result));
    return result.config.store.driver === 'redis' ? result.config.store.sentinels : null;
  }

  function fault(env: Record<string, string>): string {
    const result = load(env);
    assert.equal(result.outcome, 'refused');
    return result.errors.join('\n');
  }

  it('are none unless they are set: those in the URL are for the servers with the data', () => {
    assert.equal(sentinels({}), undefined);
  });

  it('are a password, or a user and a password, also from a file', () => {
    assert.deepEqual(sentinels({ LESSOR_SENTINEL_PASSWORD: 'p' }), { password: 'p' });
    const both = { LESSOR_SENTINEL_USER: 'u', LESSOR_SENTINEL_PASSWORD: 'p' };
    assert.deepEqual(sentinels(both), { username: 'u', password: 'p' });
    assert.deepEqual(sentinels({ LESSOR_SENTINEL_PASSWORD_FILE: 'secret' }), { password: 'from a file' });
  });

  it('are refused where they are of no use, without repeating the password', () => {
    for (const LESSOR_STORE of ['redis://h', 'redis+cluster://h', 'sqlite:x']) {
      assert.equal(
        fault({ LESSOR_STORE, LESSOR_SENTINEL_PASSWORD: 'p' }),
        'LESSOR_SENTINEL_PASSWORD: the value is for Sentinels, and the store is not redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY',
      );
    }
    assert.equal(
      fault({ LESSOR_SENTINEL_USER: 'u' }),
      'LESSOR_SENTINEL_USER: "u" is of no use alone: set LESSOR_SENTINEL_PASSWORD too',
    );
    assert.equal(
      fault({ LESSOR_SENTINEL_PASSWORD: '' }),
      'LESSOR_SENTINEL_PASSWORD is empty: give it a value or remove it',
    );
  });
});
