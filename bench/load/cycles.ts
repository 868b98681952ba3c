import { openBufferedBunqueueSession, openDurableBunqueueSession } from './bunqueue-session.ts';
import { openFaktorySession } from './faktory-session.ts';
import { openLessorSession } from './lessor-session.ts';
import { openLmstfySession } from './lmstfy-session.ts';
import type { OpenSession, Session } from './session.ts';

const PROTOCOLS = {
  lessor: openLessorSession,
  lmstfy: openLmstfySession,
  faktory: openFaktorySession,
  'bunqueue durable': openDurableBunqueueSession,
  'bunqueue buffered': openBufferedBunqueueSession,
} as const satisfies Record<string, OpenSession>;

export type Protocol = keyof typeof PROTOCOLS;

export interface CyclesArgs {
  protocol: Protocol;
  port: number;
  connections: number;
  ms: number;
}

export interface CyclesResult {
  cycles: number;
  ms: number;
}

/**
 * Full cycles, one request for each step, on as many connections, each as fast as it is answered. Every cycle that
 * was begun in time is ended, so that nothing is left behind.
 */
export async function cycles({ protocol, port, connections, ms }: CyclesArgs): Promise<CyclesResult> {
  const sessions: Session[] = [];
  for (let index = 0; index < connections; index++) sessions.push(await PROTOCOLS[protocol](port));
  let done = 0;
  const start = performance.now();
  const end = start + ms;
  await Promise.all(
    sessions.map(async (session) => {
      while (performance.now() < end) {
        await session.cycle();
        done++;
      }
    }),
  );
  const elapsed = performance.now() - start;
  for (const session of sessions) session.close();
  return { cycles: done, ms: elapsed };
}
