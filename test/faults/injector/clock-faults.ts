import type { Fault } from './fault.ts';

const HOUR_MS = 3_600_000;

function shifted(name: string, byMs: number, words: string): Fault {
  return {
    name,
    title: `The clock of one broker of three is an hour ${words}`,
    homes: ['redis'],
    holdMs: 2000,
    silences: false,
    flawless: false,
    async inject({ home, pick }) {
      const broker = home.brokers[pick(home.brokers.length)];
      if (!broker) throw new Error(`home ${home.name} has no broker`);
      await broker.terminate();
      const shift = new URL('shift-clock.ts', import.meta.url);
      shift.searchParams.set('by', String(byMs));
      await broker.start(['--import', shift.href]);
      return {
        what: `the clock of ${broker.name} is an hour ${words}`,
        heal: async () => {
          await broker.terminate();
          await broker.start();
        },
      };
    },
  };
}

/** The clock of a broker is wrong; that of the store is not, and is the one that counts. */
export const clockAhead = shifted('clock-ahead', HOUR_MS, 'ahead');
export const clockBehind = shifted('clock-behind', -HOUR_MS, 'behind');
