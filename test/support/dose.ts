/**
 * How much of it: `LESSOR_DOSE=full` runs tests at scale in full, which takes minutes; otherwise they hold for a smaller number.
 */
export function dose(small: number, full: number): number {
  return process.env['LESSOR_DOSE'] === 'full' ? full : small;
}
