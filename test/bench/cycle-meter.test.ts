import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CycleMeter } from '../../bench/process/cycle-meter.ts';

test('cycles are charged for what has to be done about them afterwards, and for nothing before them', async () => {
  let cpuMs = 1000;
  const meter = new CycleMeter({
    cpuMs: () => cpuMs,
    settled: async () => {
      cpuMs += 2;
    },
  });
  const work = async (): Promise<{ cycles: number }> => {
    cpuMs += 6;
    return { cycles: 1000 };
  };
  assert.equal(await meter.perCycle(work), 8);
  cpuMs += 500;
  assert.equal(await meter.perCycle(work), 8);
});

test('cycles are not charged for what a process takes while it only waits', async () => {
  let now = 0;
  const settled = async (): Promise<void> => {
    now += 10_000;
  };
  // A process that uses half of a core whatever is asked of it.
  const meter = new CycleMeter({ cpuMs: () => now / 2, settled }, () => now);
  await meter.learnIdle(settled);
  const work = async (): Promise<{ cycles: number }> => {
    now += 4;
    return { cycles: 1000 };
  };
  assert.equal(await meter.perCycle(work), 2);
});
