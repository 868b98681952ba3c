import { Connection } from './connection.ts';
import { expectStatus, httpFraming, httpRequest, quoted } from './http.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';
import type { OpenSession } from './session.ts';

const PUBLISH = httpRequest('PUT', `/api/bench/${QUEUE}?tries=5`, PAYLOAD_TEXT);
const CONSUME = httpRequest('GET', `/api/bench/${QUEUE}?timeout=20&ttr=30`);

/** lmstfy: five tries and a run time of 30 s, as a task of Lessor has by default. */
export const openLmstfySession: OpenSession = async (port) => {
  const connection = await Connection.open(port, httpFraming);
  return {
    async cycle() {
      expectStatus(await connection.request(PUBLISH), 201);
      const id = quoted(expectStatus(await connection.request(CONSUME), 200), '"job_id":"');
      expectStatus(await connection.request(httpRequest('DELETE', `/api/bench/${QUEUE}/job/${id}`)), 204);
    },
    close: () => connection.close(),
  };
};
