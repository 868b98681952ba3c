import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { admin } from '../support/redis-admin.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, runLessor, startLessor, temporaryFolder } from './lessor-process.ts';

const USER = 'broker';
const PASSWORD = 'first-secret%,@';
const DOCUMENTATION = new URL('../../docs/redis.md', import.meta.url);
const SENTINEL_RIGHTS = '+info +sentinel|master +sentinel|get-master-addr-by-name';

describe('the password of a Redis user', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let lessor: LessorProcess;

  const store = (password: string): string => `redis://${USER}:${encodeURIComponent(password)}@127.0.0.1:${redis.port}`;

  before(async () => {
    redis = await startRedis();
    await admin(redis.port, (client) =>
      client.acl('SETUSER', USER, 'on', `>${PASSWORD}`, 'allkeys', 'allchannels', '+@all'),
    );
    lessor = await startLessor({ dir: folder.dir, env: { LESSOR_STORE: store(PASSWORD) } });
  });

  after(async () => {
    await lessor.stop();
    await redis.stop();
    folder.remove();
  });

  function assertSilent(...texts: readonly string[]): void {
    for (const text of texts) {
      for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), 'first-secret']) {
        assert.ok(!text.includes(secret), text);
      }
    }
  }

  test('is not told by a broker that is not let in', async () => {
    const wrong = await runLessor({ dir: folder.dir, env: { LESSOR_STORE: store(`${PASSWORD}-old`) } });
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /WRONGPASS/);
    assertSilent(wrong.stdout, wrong.stderr);
  });

  test('is not logged when it is changed while a broker runs', async () => {
    await admin(redis.port, async (client) => {
      await client.acl('SETUSER', USER, 'resetpass', '>another');
      await client.client('KILL', 'USER', USER);
    });
    await until(() => /WRONGPASS/.test(lessor.stdout), { what: 'the log says that it is not let in' });
    await until(async () => (await fetch(`${lessor.url}/readyz`)).status === 503);
    assertSilent(lessor.stdout, lessor.stderr, await (await fetch(`${lessor.url}/readyz?verbose`)).text());
  });

  for (const [what, credentials] of [
    ['a % that begins no escape', 'u:first-secret%zz'],
    ['a comma', 'u:first-secret,b'],
  ] as const) {
    for (const scheme of ['redis', 'redis+sentinel', 'redis+cluster']) {
      test(`is not told when it has ${what}, which does not crash a start either: ${scheme}`, async () => {
        const path = scheme === 'redis+sentinel' ? '/mymaster' : '';
        // Nobody listens there.
        const env = { LESSOR_STORE: `${scheme}://${credentials}@127.0.0.1:1${path}` };
        const { code, stdout, stderr } = await runLessor({ dir: folder.dir, env });
        assert.equal(code, 1);
        assert.match(stderr, what === 'a comma' ? /cannot be reached/ : /write it as %25/);
        assert.equal(stderr.trim().split('\n').length, 1, stderr);
        assertSilent(stdout, stderr);
      });
    }
  }
});

describe('the password of Sentinels', () => {
  const folder = temporaryFolder();
  let redis: RedisServer;
  let sentinel: RedisServer;
  let store: string;

  before(async () => {
    redis = await startRedis();
    sentinel = await startRedis({
      ready: '+monitor',
      args: ['--sentinel'],
      file: [
        `sentinel monitor main 127.0.0.1 ${redis.port} 1`,
        'requirepass of-the-default-user',
        `user watcher on >of-the-watcher ${SENTINEL_RIGHTS}`,
        'user nobody on >of-nobody +info',
      ],
    });
    store = `redis+sentinel://127.0.0.1:${sentinel.port}/main`;
  });

  after(async () => {
    await sentinel.stop();
    await redis.stop();
    folder.remove();
  });

  test('lets a broker in that has it, and a user with no more rights than the documentation says', async () => {
    assert.ok(readFileSync(DOCUMENTATION, 'utf8').includes(SENTINEL_RIGHTS));
    for (const credentials of [
      { LESSOR_SENTINEL_PASSWORD: 'of-the-default-user' },
      { LESSOR_SENTINEL_USER: 'watcher', LESSOR_SENTINEL_PASSWORD: 'of-the-watcher' },
    ]) {
      const env = { LESSOR_STORE: store, ...credentials };
      const lessor = await startLessor({ dir: folder.dir, env });
      assert.equal((await fetch(`${lessor.url}/readyz`)).status, 200);
      await lessor.stop();
      const doctor = await runLessor({ dir: folder.dir, env, args: ['doctor'] });
      assert.deepEqual([doctor.code, doctor.stderr], [0, '']);
      assert.doesNotMatch(lessor.stdout + lessor.stderr + doctor.stdout, /of-the-/);
    }
  });

  test('is asked for in one line by a broker that is not let in, which does not repeat it', async () => {
    const asks = /cannot be reached: no Sentinel at .* knows a primary "main" \(NOAUTH.*set LESSOR_SENTINEL_PASSWORD/;
    const other = /\(WRONGPASS.*LESSOR_SENTINEL_PASSWORD or LESSOR_SENTINEL_USER is not what the Sentinels know/;
    for (const [credentials, line] of [
      [{}, asks],
      [{ LESSOR_SENTINEL_PASSWORD: 'another-secret' }, other],
      [{ LESSOR_SENTINEL_USER: 'nobody', LESSOR_SENTINEL_PASSWORD: 'of-nobody' }, /NOPERM.*docs\/redis\.md/],
    ] as const) {
      const { code, stdout, stderr } = await runLessor({
        dir: folder.dir,
        env: { LESSOR_STORE: store, ...credentials },
      });
      assert.equal(code, 1);
      assert.match(stderr, line);
      assert.equal(stderr.trim().split('\n').length, 1, stderr);
      assert.doesNotMatch(stdout + stderr, /another-secret|of-nobody/);
    }
  });
});
