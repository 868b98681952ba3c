import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type LoadedConfig, loadConfig } from '../../src/config.ts';
import { makeCertificates } from '../support/certificates.ts';

describe('files for TLS to Redis', () => {
  const certificates = makeCertificates();
  const { ca, client, server } = certificates;
  after(() => certificates.remove());
  const files: Record<string, string> = {
    ca: ca.text,
    cert: client.cert.text,
    key: client.key.text,
    otherKey: server.key.text,
    encrypted: '-----BEGIN ENCRYPTED PRIVATE KEY-----\n',
    text: 'some text',
    broken: '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n',
  };

  function load(env: Record<string, string>): LoadedConfig {
    return loadConfig({
      argv: [],
      env: { LESSOR_STORE: 'rediss://h', ...env },
      readFile(path) {
        const text = files[path];
        if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
        return text;
      },
    });
  }

  function fault(env: Record<string, string>): string {
    const result = load(env);
    assert.equal(result.outcome, 'refused');
    return result.errors.join('\n');
  }

  it('are read at the start', () => {
    const names = { LESSOR_REDIS_CA_FILE: 'ca', LESSOR_REDIS_CERT_FILE: 'cert', LESSOR_REDIS_KEY_FILE: 'key' };
    const result = load(names);
    assert.equal(result.outcome, 'loaded', JSON.stringify(result));
    assert.deepEqual(result.config.store, {
      driver: 'redis',
      url: 'rediss://h',
      prefix: 'lessor',
      shards: 64,
      durability: 'default',
      tls: { ca: ca.text, cert: client.cert.text, key: client.key.text },
    });
  });

  it('are refused where they are of no use', () => {
    const LESSOR_REDIS_CA_FILE = 'ca';
    for (const LESSOR_STORE of ['redis://h', 'sqlite:x']) {
      assert.equal(
        fault({ LESSOR_STORE, LESSOR_REDIS_CA_FILE }),
        'LESSOR_REDIS_CA_FILE: "ca" is for TLS, and the store is not rediss://HOST:PORT',
      );
    }
    assert.equal(
      fault({ LESSOR_REDIS_CERT_FILE: 'cert' }),
      'LESSOR_REDIS_CERT_FILE: "cert" is of no use alone: set LESSOR_REDIS_KEY_FILE too',
    );
    assert.equal(
      fault({ LESSOR_REDIS_KEY_FILE: 'key' }),
      'LESSOR_REDIS_KEY_FILE: "key" is of no use alone: set LESSOR_REDIS_CERT_FILE too',
    );
  });

  it('are refused when they do not hold what they should, each in a line that repeats nothing of a file', () => {
    assert.equal(
      fault({ LESSOR_REDIS_CA_FILE: 'none' }),
      'LESSOR_REDIS_CA_FILE: "none" cannot be read: there is no such file',
    );
    assert.equal(
      fault({ LESSOR_REDIS_CA_FILE: 'key' }),
      'LESSOR_REDIS_CA_FILE: "key" holds no certificate in PEM form ("-----BEGIN …")',
    );
    assert.equal(
      fault({ LESSOR_REDIS_CA_FILE: 'broken' }),
      'LESSOR_REDIS_CA_FILE: "broken" holds a certificate that cannot be read',
    );
    const cert = { LESSOR_REDIS_CERT_FILE: 'cert' };
    assert.equal(
      fault({ ...cert, LESSOR_REDIS_KEY_FILE: 'text' }),
      'LESSOR_REDIS_KEY_FILE: "text" holds no private key in PEM form ("-----BEGIN …")',
    );
    assert.equal(
      fault({ ...cert, LESSOR_REDIS_KEY_FILE: 'encrypted' }),
      'LESSOR_REDIS_KEY_FILE: "encrypted" holds a key that is encrypted: decrypt it, and let only this user read the file',
    );
    assert.equal(
      fault({ ...cert, LESSOR_REDIS_KEY_FILE: 'otherKey' }),
      'LESSOR_REDIS_KEY_FILE: "otherKey" does not hold the key that belongs to the certificate',
    );
  });
});
