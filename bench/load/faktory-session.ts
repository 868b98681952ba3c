import { Connection } from './connection.ts';
import { quoted } from './http.ts';
import { PAYLOAD_TEXT, QUEUE } from './payload.ts';
import type { OpenSession } from './session.ts';

/** Where a RESP reply ends: a line, or a bulk string of a length. */
function respFraming(text: string): number | null {
  const lineEnd = text.indexOf('\r\n');
  if (lineEnd < 0) return null;
  const length = text.startsWith('$') ? Number(text.slice(1, lineEnd)) : -1;
  const end = length < 0 ? lineEnd + 2 : lineEnd + 2 + length + 2;
  return text.length < end ? null : end;
}

function expectStart(reply: string, start: string): string {
  if (!reply.startsWith(start)) throw new Error(`expected ${start}: ${reply.slice(0, 600)}`);
  return reply;
}

let sessions = 0;

/** Faktory's own protocol over TCP, as a worker that also produces. */
export const openFaktorySession: OpenSession = async (port) => {
  const connection = await Connection.open(port, respFraming);
  const session = `bench-${process.pid}-${sessions++}`;
  expectStart(await connection.reply(), '+HI');
  const hello = `HELLO {"v":2,"hostname":"bench","wid":"${session}","pid":${process.pid},"labels":[]}\r\n`;
  expectStart(await connection.request(hello), '+OK');
  let jobs = 0;
  return {
    async cycle() {
      const job = `{"jid":"${session}-${jobs++}","jobtype":"bench","queue":"${QUEUE}","args":[${PAYLOAD_TEXT}]}`;
      expectStart(await connection.request(`PUSH ${job}\r\n`), '+OK');
      const id = quoted(expectStart(await connection.request(`FETCH ${QUEUE}\r\n`), '$'), '"jid":"');
      expectStart(await connection.request(`ACK {"jid":"${id}"}\r\n`), '+OK');
    },
    close: () => connection.close(),
  };
};
