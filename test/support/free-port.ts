import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below the ports that systems lend to the near end of a connection (from 32768 on Linux, 49152 elsewhere): one of
 * those may be taken at any time, also while a server that is to have it again is being restarted.
 */
const FIRST = 12_000;
const LAST = 32_000;
const TRIES = 100;

const given = new Set<number>();

/** A port on loopback on which nothing listens, and which this process was not given before. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (given.has(port) || !(await canListen(port))) continue;
    given.add(port);
    return port;
  }
  throw new Error('no free port');
}

async function canListen(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
