import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import {
  aclRules,
  BROKER_COMMANDS,
  FUNCTION_COMMANDS,
  OPTIONAL_COMMANDS,
  TOPOLOGY_COMMANDS,
} from '../../src/store/redis/acl.ts';
import { loadLibrary } from '../../src/store/redis/library.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const DOCS = new URL('../../docs/redis.md', import.meta.url);

describe('what a Redis user has to be allowed', () => {
  let server: RedisServer;
  let admin: Redis;

  before(async () => {
    server = await startRedis({ appendonly: true });
    admin = new Redis(server.url);
  });

  after(async () => {
    admin.disconnect();
    await server.stop();
  });

  async function refusals(): Promise<unknown[]> {
    return (await admin.acl('LOG')) as unknown[];
  }

  /** What a broker does that no test of the contract does. */
  async function exercise(user: string): Promise<void> {
    const url = `${server.url.replace('redis://', `redis://${user}@`)}/1`;
    const store = new RedisStore({ url, prefix: 'lessor', shards: 2, durability: 'default' });
    await store.open();
    try {
      const heard: string[] = [];
      store.wakes.onReady((queue) => heard.push(queue));
      store.wakes.watch('q');
      await until(() => heard.length > 0, { what: 'a subscription' });
      await store.check();
      assert.equal((await store.describe()).durability, 'always');
      await store.memory();
    } finally {
      await store.close();
    }
  }

  test('is each command that the functions call, and no other', async () => {
    const known = new Set((await admin.command('LIST')).map((name) => String(name).toUpperCase()));
    const words = [...loadLibrary().source.matchAll(/'([A-Z]+)'/g)].map(([, word = '']) => word);
    const called = new Set(words.filter((word) => known.has(word)).map((word) => word.toLowerCase()));
    assert.deepEqual([...FUNCTION_COMMANDS], [...called].sort());
  });

  test('is no more than what a broker sends, and the keys and channels of its prefix', async () => {
    await admin.acl('SETUSER', 'broker', 'on', '>pw', ...aclRules('lessor'));
    await exercise('broker:pw');
    assert.deepEqual(await refusals(), []);
    for (const words of [
      ['SET', 'other:{0}:x', '1'],
      ['GET', 'lessorish:x'],
      ['SSUBSCRIBE', 'other:{0}:ready:q'],
      ['FLUSHALL'],
      ['KEYS', '*'],
      ['CONFIG', 'SET', 'appendonly', 'no'],
    ]) {
      const reply = String(await admin.call('ACL', 'DRYRUN', 'broker', ...words));
      assert.match(reply, /has no permissions|can't access|No permissions/i, words.join(' '));
    }
  });

  test('is documented in a line that works as it is written', async () => {
    const line = /^ACL SETUSER .*$/m.exec(readFileSync(DOCS, 'utf8'))?.[0] ?? '';
    assert.equal(line, `ACL SETUSER lessor on >PASSWORD ${aclRules('lessor').join(' ')}`);
    const [, , ...words] = line.split(' ');
    await admin.acl('SETUSER', ...(words as [string, ...string[]]));
    await exercise('lessor:PASSWORD');
    assert.deepEqual(await refusals(), []);
  });

  test('is nothing that a broker can do without, but for what is optional', async () => {
    for (const command of BROKER_COMMANDS) {
      if (command === 'sunsubscribe') continue;
      const name = `no-${command.replace('|', '-')}`;
      await admin.acl('SETUSER', name, 'on', '>pw', ...aclRules('lessor'), `-${command}`);
      await admin.function('FLUSH');
      const url = server.url.replace('redis://', `redis://${name}:pw@`);
      const store = new RedisStore({ url, prefix: 'lessor', shards: 1, durability: 'default' });
      store.wakes.watch('q');
      await store.open().catch(() => {});
      await until(async () => (await refusals()).length > 0, { what: `a refusal without ${command}` });
      await store.close();
      await admin.acl('LOG', 'RESET');
    }
    const rules = aclRules('lessor').filter((rule) => !OPTIONAL_COMMANDS.some((command) => rule === `+${command}`));
    await admin.acl('SETUSER', 'poor', 'on', '>pw', ...rules);
    const url = server.url.replace('redis://', 'redis://poor:pw@');
    const store = new RedisStore({ url, prefix: 'lessor', shards: 1, durability: 'default' });
    await store.open();
    await store.check();
    assert.equal((await store.describe()).durability, 'unknown');
    await store.close();
  });

  test('is only what Redis knows under that name', async () => {
    const known = (await admin.command('LIST')).map((name) => String(name).toLowerCase());
    const all = [...FUNCTION_COMMANDS, ...BROKER_COMMANDS, ...OPTIONAL_COMMANDS, ...TOPOLOGY_COMMANDS];
    for (const command of all) assert.ok(known.includes(command.split('|')[0] ?? ''), command);
  });
});
