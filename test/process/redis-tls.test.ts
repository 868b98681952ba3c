import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { startTlsRedis, type TlsRedis } from '../support/redis-tls.ts';
import { runLessor, startLessor, temporaryFolder } from './lessor-process.ts';

const PASSWORD = 'hunter2';

describe('Redis over TLS', () => {
  const folder = temporaryFolder();
  let redis: TlsRedis;
  let url: string;

  before(async () => {
    redis = await startTlsRedis();
    const admin = new Redis(redis.server.url);
    await admin.acl('SETUSER', 'tls', 'on', `>${PASSWORD}`, '~*', '&*', '+@all');
    admin.disconnect();
    url = `rediss://tls:${PASSWORD}@127.0.0.1:${redis.port}`;
  });

  after(async () => {
    await redis.stop();
    folder.remove();
  });

  async function refusal(env: Record<string, string>): Promise<string> {
    const { code, stderr, stdout } = await runLessor({ dir: folder.dir, env });
    assert.match(stderr, /^lessor: [^\n]+\n$/);
    assert.equal(code, 1);
    assert.ok(!`${stderr}${stdout}`.includes(PASSWORD), stderr);
    return stderr;
  }

  async function serves(env: Record<string, string>): Promise<void> {
    const lessor = await startLessor({ dir: folder.dir, env });
    try {
      assert.match(lessor.stderr, new RegExp(`Storage .*rediss://127\\.0\\.0\\.1:${redis.port}`));
      const parked = fetch(`${lessor.url}/tasks/lease?queue=tls&waitMs=10000`);
      const post = { method: 'POST', headers: { 'content-type': 'application/json' } };
      const task = await fetch(`${lessor.url}/tasks`, { ...post, body: '{"queue":"tls"}' });
      assert.equal(task.status, 201);
      const { tasks } = (await (await parked).json()) as { tasks: unknown[] };
      assert.equal(tasks.length, 1);
    } finally {
      const { stdout, stderr } = await lessor.stop();
      assert.ok(!`${stdout}${stderr}`.includes(PASSWORD));
    }
  }

  it('is served with the authority that LESSOR_REDIS_CA_FILE names', async () => {
    await serves({ LESSOR_STORE: url, LESSOR_REDIS_CA_FILE: redis.certificates.ca.path });
  });

  it('is served with a certificate of our own where the server demands one, and refused without', async () => {
    const { ca, client } = redis.certificates;
    const env = { LESSOR_STORE: url, LESSOR_REDIS_CA_FILE: ca.path };
    await redis.demandCertificates(true);
    try {
      assert.match(await refusal(env), /does it want a certificate \(LESSOR_REDIS_CERT_FILE\)\?/);
      await serves({ ...env, LESSOR_REDIS_CERT_FILE: client.cert.path, LESSOR_REDIS_KEY_FILE: client.key.path });
    } finally {
      await redis.demandCertificates(false);
    }
  });

  it('is refused with one line when nobody trusted has signed its certificate', async () => {
    const wanted = /Redis at rediss:\/\/127\.0\.0\.1:\d+ cannot be reached: .*set LESSOR_REDIS_CA_FILE to/;
    assert.match(await refusal({ LESSOR_STORE: url }), wanted);
    const { strangeCa } = redis.certificates;
    assert.match(await refusal({ LESSOR_STORE: url, LESSOR_REDIS_CA_FILE: strangeCa.path }), wanted);
  });

  it('is refused with one line when its certificate is for another host', async () => {
    const env = { LESSOR_STORE: url.replace('127.0.0.1', 'localhost') };
    const line = await refusal({ ...env, LESSOR_REDIS_CA_FILE: redis.certificates.ca.path });
    assert.match(line, /certificate is for another host: use the name that it is for in LESSOR_STORE/);
  });

  it('is refused with one line where no TLS is spoken', async () => {
    const line = await refusal({ LESSOR_STORE: redis.server.url.replace('redis:', 'rediss:') });
    assert.match(line, /does it speak TLS at that port/);
  });
});
