import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type CommandOutput, runCommand } from '../../src/command.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { realTimeBench } from '../contract/workbench.ts';
import { admin } from '../support/redis-admin.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

interface Report {
  sound: boolean;
  found: number;
  unchecked: string[];
}

/** More than are looked at for the sake of their groups. */
const MANY = 251;

describe('a look that does not look at everything', () => {
  let server: RedisServer;
  let store: RedisStore;

  before(async () => {
    server = await startRedis();
    store = new RedisStore({ url: server.url, prefix: 'lessor', shards: 1, durability: 'default' });
    await store.open();
    const bench = realTimeBench(store);
    await bench.putAll(Array.from({ length: MANY }, () => ({ delayMs: 3_600_000 })));
    await bench.put({ groupKey: 'g' });
  });

  after(async () => {
    await store.close();
    await server.stop();
  });

  function doctor(...argv: string[]): Promise<CommandOutput> {
    const readFile = (): string => {
      throw Object.assign(new Error('there is none'), { code: 'ENOENT' });
    };
    return runCommand('doctor', { argv, env: { LESSOR_STORE: server.url }, readFile });
  }

  const reported = ({ text }: CommandOutput): Report => JSON.parse(text) as Report;

  test('does not call a store sound in which it found nothing', async () => {
    const { text, exitCode, faults } = await doctor();
    assert.deepEqual([exitCode, faults], [3, []]);
    assert.match(text, /\nnot looked at:\n {2}1 groups of queue q were not counted: .*\n\nNothing wrong was found in /);
    assert.doesNotMatch(text, /Sound/);
  });

  test('says so to programs', async () => {
    const output = await doctor('--json');
    const { sound, found, unchecked } = reported(output);
    assert.deepEqual([output.exitCode, sound, found, unchecked.length], [3, false, 0, 1]);
  });

  test('ends with what it found where it found something', async () => {
    await admin(server.port, (redis) => redis.hincrby('lessor:{0}:q:q', 'ready', 1));
    const output = await doctor('--json', '--mend');
    const { sound, found, unchecked } = reported(output);
    assert.deepEqual([output.exitCode, sound, found, unchecked.length], [2, false, 1, 1]);
  });
});
