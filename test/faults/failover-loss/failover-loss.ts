import pino from 'pino';
import { createApp } from '../../../src/app.ts';
import { until } from '../../support/until.ts';
import { type FailoverLoss, Load } from './load.ts';
import type { FailoverScene } from './scene.ts';

export type FailoverDurability = 'default' | `replicated:${1 | 2}`;

export interface FailoverLossOptions {
  scene: FailoverScene;
  durability: FailoverDurability;
  /** Calls that are answered before the replica falls behind. */
  before?: number;
  /** Outcomes, answers or refusals, while it is behind and nobody knows. */
  during?: number;
  /** Calls that are answered after the failover. */
  afterwards?: number;
}

const CLIENTS = 8;
const PREFIX = 'lessor';
const WAIT_MS = 30_000;

/**
 * A load of enqueues and acks over HTTP on a primary and replicas. The replicas get nothing any more, the load goes on, the primary is
 * killed and a replica promoted; the killed one comes back as its replica. Then whatever was answered 2xx is looked for.
 */
export async function failoverLoss({
  scene,
  durability,
  before = 100,
  during = 2 * CLIENTS,
  afterwards = 50,
}: FailoverLossOptions): Promise<FailoverLoss> {
  const app = createApp(
    {
      host: '127.0.0.1',
      port: 0,
      store: { driver: 'redis', url: scene.url, prefix: PREFIX, shards: 4, durability },
      ...{ logLevel: 'silent', maxWaiters: 100, shutdownMs: 5000, insecure: false },
    },
    { log: pino({ level: 'silent' }), version: '0.0.0-test', openFiles: null },
  );
  try {
    const load = new Load((await app.listen()).url);
    await load.prepare(before + during + afterwards + CLIENTS);
    const clients = Promise.all(Array.from({ length: CLIENTS }, (_, at) => (at % 2 === 0 ? load.post() : load.work())));
    const course = async (): Promise<void> => {
      const reaches = (count: number): Promise<boolean> =>
        until(() => load.outcomes >= count, { timeoutMs: WAIT_MS, what: `${count} outcomes` });
      await reaches(before);
      await scene.cutOff();
      await reaches(load.outcomes + during);
      await scene.failOver(PREFIX);
      const answered = load.answered;
      await until(() => load.answered >= answered + afterwards, {
        timeoutMs: WAIT_MS,
        what: 'calls are answered again',
      });
    };
    // A client that gives up ends the run; a run that fails ends the clients.
    await Promise.all([clients, course().finally(() => load.stop())]);
    return await load.judge();
  } finally {
    await app.stop();
  }
}
