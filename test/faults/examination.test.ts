import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { admin } from '../support/redis-admin.ts';
import { SOURCE } from './homes/broker-process.ts';
import { openEmbedded } from './homes/embedded.ts';
import type { Home } from './homes/home.ts';
import { openRedis } from './homes/redis.ts';
import { examine } from './load/examination.ts';

async function post(home: Home): Promise<void> {
  const reply = await fetch(`${home.urls[0]}/tasks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ queue: 'plain' }),
  });
  assert.equal(reply.status, 201);
}

describe('the doctor in a round', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'lessor-examination-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  it('finds what is wrong in a store on Redis that brokers have', async () => {
    const home = await openRedis({ code: SOURCE });
    try {
      await post(home);
      assert.deepEqual(await examine(home, dir), []);
      await admin(home.redis?.port ?? 0, async (redis) => {
        const [record] = await redis.keys('lessor:{*}:q:plain');
        assert.ok(record !== undefined);
        await redis.hincrby(record, 'ready', 1);
      });
      assert.deepEqual(await examine(home, dir), ['counter plain ready: 2 is noted, 1 is there']);
    } finally {
      await home.stop();
    }
  });

  it('looks at a copy of the file that a broker has, and leaves none', async () => {
    const home = await openEmbedded({ code: SOURCE });
    try {
      await post(home);
      assert.deepEqual(await examine(home, dir), []);
      assert.deepEqual(readdirSync(dir), []);
    } finally {
      await home.stop();
    }
  });
});
