import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from './connection.ts';
import { bodyOf, expectStatus, httpRequest } from './http.ts';
import { ackRequest, heldOf, openLessor } from './lessor-session.ts';
import { PAYLOAD_TEXT } from './payload.ts';

/** Between two cycles of one connection. */
const PAUSE_MS = 10;

/** How long calls of each kind took, in ms. */
export type Latencies = Record<'enqueue' | 'lease' | 'heartbeat' | 'ack' | 'read', number[]>;

interface Probe {
  stopped: boolean;
  latencies: Latencies;
  /** Settles when all connections have stopped. */
  ended: Promise<unknown>;
}

let probe: Probe | null = null;

export interface ProbeArgs {
  port: number;
  /** Queues, with one connection each. */
  queues: string[];
}

/** Begins to put a task at a time through each queue, and notes how long each call takes. */
export async function startProbe({ port, queues }: ProbeArgs): Promise<void> {
  const begun: Probe = {
    stopped: false,
    latencies: { enqueue: [], lease: [], heartbeat: [], ack: [], read: [] },
    ended: Promise.resolve(),
  };
  const connections = await Promise.all(queues.map(async (queue) => ({ queue, connection: await openLessor(port) })));
  begun.ended = Promise.all(connections.map(({ queue, connection }) => cycles(begun, queue, connection)));
  probe = begun;
}

/** Ends it, and answers what it has noted. */
export async function stopProbe(): Promise<Latencies> {
  if (probe === null) throw new Error('there is no probe');
  probe.stopped = true;
  await probe.ended;
  const { latencies } = probe;
  probe = null;
  return latencies;
}

async function cycles(running: Probe, queue: string, connection: Connection): Promise<void> {
  const call = async (kind: keyof Latencies, request: string, status = 200): Promise<string> => {
    const begun = performance.now();
    const reply = expectStatus(await connection.request(request), status);
    running.latencies[kind].push(performance.now() - begun);
    return reply;
  };
  const post = httpRequest('POST', '/tasks', `{"queue":"${queue}","priority":9,"payload":${PAYLOAD_TEXT}}`);
  const lease = httpRequest('GET', `/tasks/lease?queue=${queue}&waitMs=0`);
  while (!running.stopped) {
    await call('enqueue', post, 201);
    const [held] = heldOf(await call('lease', lease));
    // A purge of the queue may have taken it.
    if (held === undefined) continue;
    await call(
      'heartbeat',
      httpRequest('POST', `/tasks/${held.id}/heartbeat`, `{"leaseToken":"${held.token}","leaseMs":30000}`),
    );
    bodyOf(await call('read', httpRequest('GET', `/queues/${queue}/stats`)));
    await call('ack', ackRequest(held));
    await sleep(PAUSE_MS);
  }
  connection.close();
}
