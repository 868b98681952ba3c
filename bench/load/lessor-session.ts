import { Connection } from './connection.ts';
import { bodyOf, expectStatus, httpFraming, httpRequest, quoted } from './http.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';
import type { OpenSession } from './session.ts';

/** A task as a worker holds it. */
export interface Held {
  id: string;
  token: string;
}

export const ENQUEUE = httpRequest('POST', '/tasks', `{"queue":"${QUEUE}","payload":${PAYLOAD_TEXT}}`);
/** Waits as long as workers wait unless told otherwise. */
export const LEASE = httpRequest('GET', `/tasks/lease?queue=${QUEUE}`);

export function openLessor(port: number): Promise<Connection> {
  return Connection.open(port, httpFraming);
}

/** The tasks of a lease reply, in order. */
export function heldOf(reply: string): Held[] {
  const body = bodyOf(expectStatus(reply, 200));
  const held: Held[] = [];
  let at = body.indexOf('{"id":"');
  while (at >= 0) {
    const tokenAt = body.indexOf('"token":"', at);
    if (tokenAt < 0) throw new Error(`a leased task without a token: ${body.slice(0, 600)}`);
    held.push({ id: quoted(body, '{"id":"', at), token: quoted(body, '"token":"', tokenAt) });
    at = body.indexOf('{"id":"', tokenAt);
  }
  return held;
}

export function ackRequest({ id, token }: Held): string {
  return httpRequest('POST', `/tasks/${id}/ack`, `{"leaseToken":"${token}"}`);
}

export const openLessorSession: OpenSession = async (port) => {
  const connection = await openLessor(port);
  return {
    async cycle() {
      expectStatus(await connection.request(ENQUEUE), 201);
      const [held] = heldOf(await connection.request(LEASE));
      if (held === undefined) throw new Error('leased nothing although a task was there');
      expectStatus(await connection.request(ackRequest(held)), 200);
    },
    close: () => connection.close(),
  };
};
