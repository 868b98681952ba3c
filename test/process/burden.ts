/**
 * Loaded into a broker before its own code: `LESSOR_TEST_BURDEN` says with what SIGUSR2 burdens it. Another SIGUSR2 takes the burden away.
 */
import { PROCESS_GAUGE } from '../../src/broker/pressure-guard.ts';

/** So long the event loop stands still at a time. */
const BLOCKED_MS = 1700;
const GAP_MS = 5;
const HEAP_PART = 0.9;

let burdened = false;
let kept: number[][] = [];

function block(): void {
  if (!burdened) return;
  const until = performance.now() + BLOCKED_MS;
  while (performance.now() < until);
  setTimeout(block, GAP_MS);
}

function fill(): void {
  while (burdened && PROCESS_GAUGE.heap() < HEAP_PART) kept.push(new Array<number>(20_000).fill(1));
  if (!burdened) kept = [];
}

const burden = process.env['LESSOR_TEST_BURDEN'] === 'heap' ? fill : block;
delete process.env['LESSOR_TEST_BURDEN'];
process.on('SIGUSR2', () => {
  burdened = !burdened;
  burden();
});
