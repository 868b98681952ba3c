import type { Stall } from '../history/event.ts';
import type { Call, FaultWindow } from './ledger.ts';

/** After a fault has healed, brokers connect again and sweep, and tasks flow again, within this time. */
export const RECOVERY_MS = 5000;

/** Whether a fault may have kept an answer from whoever made this call, or from a caller of this broker. */
export function silences({ silences: silent, whom }: FaultWindow, { p, via }: Call): boolean {
  return silent && (whom === null || whom === p || whom === via);
}

/** Whether a fault was on at any time between the two that brokers or their store felt, or the machine stood still. */
export function isDisturbed(
  faults: readonly (Stall & Pick<FaultWindow, 'onlyWorkers'>)[],
  from: number,
  to: number,
): boolean {
  return faults.some((fault) => !fault.onlyWorkers && fault.from < to && fault.to > from);
}

/** For how long of the time between the two the machine ran, in ms. */
export function ranFor(stalls: readonly Stall[], from: number, to: number): number {
  return stalls.reduce(
    (left, stall) => left - Math.max(0, Math.min(to, stall.to) - Math.max(from, stall.from)),
    to - from,
  );
}
