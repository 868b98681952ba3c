import { Connection } from './connection.ts';
import { bodyOf, expectStatus, httpFraming, httpRequest, quoted } from './http.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';
import type { OpenSession } from './session.ts';

const DURABLE = httpRequest(
  'POST',
  `/queues/${QUEUE}/jobs`,
  `{"data":${PAYLOAD_TEXT},"removeOnComplete":true,"durable":true}`,
);
const BUFFERED = httpRequest('POST', `/queues/${QUEUE}/jobs`, `{"data":${PAYLOAD_TEXT},"removeOnComplete":true}`);
const PULL = httpRequest('GET', `/queues/${QUEUE}/jobs?timeout=20000`);

/** Pulls without an owner carry no lock: the ack names the job alone. */
function openSession(push: string): OpenSession {
  return async (port) => {
    const connection = await Connection.open(port, httpFraming);
    return {
      async cycle() {
        expectStatus(await connection.request(push), 200);
        const id = quoted(bodyOf(expectStatus(await connection.request(PULL), 200)), '"job":{"id":"');
        expectStatus(await connection.request(httpRequest('POST', `/jobs/${id}/ack`, '{}')), 200);
      },
      close: () => connection.close(),
    };
  };
}

/** Each push is in the database's log before it is answered. */
export const openDurableBunqueueSession = openSession(DURABLE);
/** A push is answered from memory, and written a little later. */
export const openBufferedBunqueueSession = openSession(BUFFERED);
