import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Launched } from '../process/launch.ts';

const START_MS = 30_000;

/** A peer that is running, with all that it needs. */
export interface PeerServer {
  port: number;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Resolves once somebody listens on the port: for servers that do not say when they do. */
export async function listening(port: number, launched: Launched): Promise<void> {
  const end = performance.now() + START_MS;
  while (performance.now() < end && !launched.ended) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch {
      await sleep(50);
    } finally {
      socket.destroy();
    }
  }
  throw new Error(`nobody listens on port ${port}:\n${launched.output}`);
}
