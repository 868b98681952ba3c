import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type FailoverDurability, failoverLoss } from './failover-loss.ts';
import type { FailoverLoss } from './load.ts';
import { openPair } from './scene.ts';

async function lossOfPair(durability: FailoverDurability): Promise<FailoverLoss> {
  const scene = await openPair();
  try {
    return await failoverLoss({ scene, durability });
  } finally {
    await scene.stop();
  }
}

describe('a failover to a replica that had fallen behind unnoticed', () => {
  test('loses answered calls without WAIT', async () => {
    const loss = await lossOfPair('default');
    assert.ok(loss.lostTasks + loss.lostAcks > 0, JSON.stringify(loss));
  });

  test('loses nothing that was answered with replicated:1, whose calls are refused as unknown instead', async () => {
    const loss = await lossOfPair('replicated:1');
    const { lostTasks, lostAcks, lostLeases, surplus } = loss;
    const lost = { lostTasks, lostAcks, lostLeases, surplus };
    assert.deepEqual(lost, { lostTasks: 0, lostAcks: 0, lostLeases: 0, surplus: 0 }, JSON.stringify(loss));
    assert.ok(loss.unknown > 0 && loss.enqueued > 0 && loss.acked > 0, JSON.stringify(loss));
  });
});
