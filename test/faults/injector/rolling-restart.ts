import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../support/until.ts';
import type { Fault } from './fault.ts';

/** A replica that is ready gets a moment of work before the next one stops. */
const SETTLE_MS = 300;

/** Each of the brokers in turn is told to stop, drains, and is started again. No call may fail. */
export const rollingRestart: Fault = {
  name: 'rolling-restart',
  title: 'SIGTERM and start of each of three brokers in turn, behind a keep-alive proxy',
  homes: ['rolling'],
  holdMs: 0,
  silences: false,
  flawless: true,
  async inject({ home }) {
    return {
      what: 'every broker is restarted in turn',
      async heal() {
        for (const broker of home.brokers) {
          await broker.terminate();
          await broker.start();
          await until(async () => (await fetch(`${broker.url}/readyz`)).ok, { what: `${broker.name} is ready again` });
          await sleep(SETTLE_MS);
        }
      },
    };
  },
};
