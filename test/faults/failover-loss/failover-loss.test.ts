import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type FailoverDurability, failoverLoss } from './failover-loss.ts';
import type { FailoverLoss } from './load.ts';
import { type FailoverScene, openPair, openTrio } from './scene.ts';

async function lossOf(open: () => Promise<FailoverScene>, durability: FailoverDurability): Promise<FailoverLoss> {
  const scene = await open();
  try {
    return await failoverLoss({ scene, durability });
  } finally {
    await scene.stop();
  }
}

describe('a failover to a replica that had fallen behind unnoticed', () => {
  test('loses answered calls without WAIT', async () => {
    const loss = await lossOf(openPair, 'default');
    assert.ok(loss.lostTasks + loss.lostAcks > 0, JSON.stringify(loss));
  });

  test('loses nothing that was answered with replicated:1, whose calls are refused as unknown instead', async () => {
    keepsAll(await lossOf(openPair, 'replicated:1'));
  });

  test('loses answered calls with replicated:1 where another replica is the one that confirmed', async () => {
    const loss = await lossOf(openTrio, 'replicated:1');
    assert.ok(loss.lostTasks + loss.lostAcks > 0, JSON.stringify(loss));
  });

  test('loses nothing that was answered with replicated:2 of two replicas', async () => {
    keepsAll(await lossOf(openTrio, 'replicated:2'));
  });
});

function keepsAll(loss: FailoverLoss): void {
  const { lostTasks, lostAcks, lostLeases, surplus } = loss;
  const lost = { lostTasks, lostAcks, lostLeases, surplus };
  assert.deepEqual(lost, { lostTasks: 0, lostAcks: 0, lostLeases: 0, surplus: 0 }, JSON.stringify(loss));
  assert.ok(loss.unknown > 0 && loss.enqueued > 0 && loss.acked > 0, JSON.stringify(loss));
}
