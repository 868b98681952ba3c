import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failoverLoss } from './failover-loss.ts';

describe('a failover to a replica that had fallen behind unnoticed', () => {
  test('loses answered calls without WAIT', async () => {
    const loss = await failoverLoss({ durability: 'default' });
    assert.ok(loss.lostTasks + loss.lostAcks > 0, JSON.stringify(loss));
  });

  test('loses nothing that was answered with replicated:1, whose calls are refused as unknown instead', async () => {
    const loss = await failoverLoss({ durability: 'replicated:1' });
    const { lostTasks, lostAcks, surplus } = loss;
    assert.deepEqual({ lostTasks, lostAcks, surplus }, { lostTasks: 0, lostAcks: 0, surplus: 0 }, JSON.stringify(loss));
    assert.ok(loss.unknown > 0 && loss.enqueued > 0 && loss.acked > 0, JSON.stringify(loss));
  });
});
