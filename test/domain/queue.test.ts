import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_QUEUE_CONFIG, mergeQueueSettings, queueConfig } from '../../src/domain/queue.ts';

describe('the configuration of a queue', () => {
  it('is the published defaults when nothing is set', () => {
    assert.deepEqual(queueConfig({}), {
      leaseMs: 30_000,
      maxAttempts: 5,
      backoff: { type: 'exponential', baseMs: 1000, maxMs: 3_600_000, jitter: 0.2 },
      maxConcurrency: null,
      rateLimit: null,
      maxBacklog: null,
      groups: { maxConcurrency: 1, ordering: 'strict' },
      retention: { completedMs: 600_000, completedMax: 10_000, deadMs: 2_592_000_000 },
    });
  });

  it('takes what is set, and the defaults for every part that is left out', () => {
    assert.deepEqual(queueConfig({ maxAttempts: 1, backoff: { jitter: 0 }, retention: { completedMax: 0 } }), {
      ...DEFAULT_QUEUE_CONFIG,
      maxAttempts: 1,
      backoff: { ...DEFAULT_QUEUE_CONFIG.backoff, jitter: 0 },
      retention: { ...DEFAULT_QUEUE_CONFIG.retention, completedMax: 0 },
    });
  });

  it('changes only what a change names, part by part', () => {
    const settings = { leaseMs: 1, backoff: { baseMs: 2 }, retention: { deadMs: 3 } };
    assert.deepEqual(mergeQueueSettings(settings, {}), settings);
    assert.deepEqual(mergeQueueSettings(settings, { backoff: { jitter: 0 }, maxAttempts: 4 }), {
      ...{ leaseMs: 1, maxAttempts: 4, backoff: { baseMs: 2, jitter: 0 }, retention: { deadMs: 3 } },
    });
    assert.deepEqual(mergeQueueSettings({}, { retention: { deadMs: 5 } }), { retention: { deadMs: 5 } });
    assert.deepEqual(settings, { leaseMs: 1, backoff: { baseMs: 2 }, retention: { deadMs: 3 } });
  });
});
