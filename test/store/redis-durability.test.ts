import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Redis } from 'ioredis';
import pino from 'pino';
import { effectiveDurability } from '../../src/store/redis/durability.ts';
import { RedisStore, type RedisStoreOptions } from '../../src/store/redis/redis-store.ts';
import { StoreRefusal } from '../../src/store/store.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { until } from '../support/until.ts';

const NOTHING_ASKED = { replicas: 0, tooFew: null };

function levelOf(info: Record<string, string>, settings: Record<string, string> | null): string {
  const known = settings === null ? null : (new Map(Object.entries(settings)) as ReadonlyMap<'appendfsync', string>);
  return effectiveDurability(new Map(Object.entries(info)), known, NOTHING_ASKED).durability;
}

describe('the effective durability', () => {
  const aof = { aof_enabled: '1', aof_last_write_status: 'ok' };

  test('is what the server is set to and can do, never more', () => {
    assert.equal(levelOf({ aof_enabled: '0' }, { appendfsync: 'always' }), 'none');
    assert.equal(levelOf(aof, { appendfsync: 'always', 'no-appendfsync-on-rewrite': 'no' }), 'always');
    assert.equal(levelOf(aof, { appendfsync: 'everysec', 'no-appendfsync-on-rewrite': 'no' }), 'everysec');
    assert.equal(levelOf(aof, { appendfsync: 'no', 'no-appendfsync-on-rewrite': 'no' }), 'none');
    assert.equal(levelOf(aof, { appendfsync: 'always', 'no-appendfsync-on-rewrite': 'yes' }), 'none');
    assert.equal(levelOf({ ...aof, aof_last_write_status: 'err' }, { appendfsync: 'always' }), 'none');
  });

  test('is unknown where the server does not say how it syncs, but not where it says that it does not', () => {
    assert.equal(levelOf(aof, null), 'unknown');
    assert.equal(levelOf({ aof_enabled: '0' }, null), 'none');
  });

  test('is replicated:N only while N replicas are in step and heard of', () => {
    const level = (tooFew: number | null, ...slaves: string[]): string => {
      const named = slaves.map((slave, index): [string, string] => [`slave${index}`, slave]);
      const info = new Map([['role', 'master'], ['aof_enabled', '0'], ['connected_slaves', '2'], ...named] as const);
      const { durability, unmet } = effectiveDurability(info, null, { replicas: 2, tooFew });
      assert.equal(unmet === null, durability === 'replicated:2');
      return durability;
    };
    const online = 'ip=::1,port=1,state=online,offset=1,lag=0';
    assert.equal(level(null, online, online), 'replicated:2');
    assert.equal(level(null, online, online, online), 'replicated:2');
    assert.equal(level(1, online, online), 'none');
    assert.equal(level(null, online), 'none');
    assert.equal(level(null, online, online.replace('lag=0', 'lag=20')), 'none');
    assert.equal(level(null, online, online.replace('online', 'wait_bgsave')), 'none');
  });
});

describe('the note on replicated:N', () => {
  const noteOf = (replicas: number): string => {
    const online = 'ip=::1,port=1,state=online,offset=1,lag=0';
    const info = new Map([
      ['role', 'master'],
      ['slave0', online],
      ['slave1', online],
    ] as const);
    return effectiveDurability(info, null, { replicas, tooFew: null }).note;
  };

  test('says what a failover may lose where more replicas are connected than confirm, and what rules that out', () => {
    const says = /^held by 1 of 2 .* a failover to another of them may lose it, which replicated:2 rules out;/;
    assert.match(noteOf(1), says);
    assert.doesNotMatch(noteOf(2), /may lose/);
  });
});

describe('the durability of a Redis that is running', () => {
  let server: RedisServer;
  let admin: Redis;
  const opened: RedisStore[] = [];

  before(async () => {
    server = await startRedis({ appendonly: true });
    admin = new Redis(server.url);
  });

  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });

  after(async () => {
    admin.disconnect();
    await server.stop();
  });

  async function open(options: Partial<RedisStoreOptions> = {}): Promise<RedisStore> {
    const store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 1, durability: 'default', ...options });
    opened.push(store);
    await store.open();
    return store;
  }

  test('is read again and again: a change is shown at once, and logged once within seconds', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
    const store = await open({ log });
    assert.equal((await store.describe()).durability, 'always');
    await admin.config('SET', 'appendonly', 'no');
    await until(() => lines.length > 0, { what: 'the change is logged', timeoutMs: 5000 });
    const { durability, note } = await store.describe();
    assert.equal(durability, 'none');
    assert.match(note, /set "appendonly yes"/);
    await store.describe();
    assert.equal(lines.length, 1, lines.join(''));
    assert.match(lines[0] ?? '', /"level":40.*was \\"always\\" and is \\"none\\" now/);
    await admin.config('SET', 'appendonly', 'yes');
    assert.equal((await store.describe()).durability, 'always');
    assert.equal(lines.length, 2, lines.join(''));
    assert.match(lines[1] ?? '', /"level":30/);
  });

  test('is unknown to a user who may not read the settings', async () => {
    await admin.acl('SETUSER', 'blind', 'on', '>pw', '~*', '&*', '+@all', '-config');
    const store = await open({ url: server.url.replace('redis://', 'redis://blind:pw@') });
    const { durability, note } = await store.describe();
    assert.equal(durability, 'unknown');
    assert.match(note, /how often it is synced may not be read \(CONFIG GET appendfsync\)/);
  });

  test('cannot be replicated:N for a user who may not WAIT', async () => {
    await admin.acl('SETUSER', 'hasty', 'on', '>pw', '~*', '&*', '+@all', '-wait');
    const url = server.url.replace('redis://', 'redis://hasty:pw@');
    await assert.rejects(
      () => open({ url, durability: 'replicated:1' }),
      (error) =>
        error instanceof StoreRefusal &&
        /^LESSOR_DURABILITY=replicated:1 needs the command WAIT, which redis:\/\/\S+ refuses \(.*\): allow it/.test(
          error.message,
        ),
    );
  });

  test('is below replicated:N while no replica is connected: the store opens, says so, and refuses what promises it', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    const store = await open({ durability: 'replicated:1', log });
    const { durability, unmet } = await store.describe();
    assert.equal(durability, 'always');
    assert.match(unmet ?? '', /replicated:1 does not hold: 0 of 1 replicas are connected/);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /not ready: replicated:1 does not hold/);
    await assert.rejects(() => store.check(), /0 of 1 replicas confirmed/);
  });
});
