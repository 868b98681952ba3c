import { bodyOf } from './http.ts';
import { ackRequest, ENQUEUE, heldOf, LEASE, openLessor } from './lessor-session.ts';

/** Lengths of ids and tokens may differ a little between stores. */
const MAX_DIFFERENCE = 24;

/** One cycle: the three replies. */
async function repliesOf(port: number): Promise<string[]> {
  const connection = await openLessor(port);
  const enqueued = await connection.request(ENQUEUE);
  const leased = await connection.request(LEASE);
  const [held] = heldOf(leased);
  if (held === undefined) throw new Error('nothing was leased');
  const acked = await connection.request(ackRequest(held));
  connection.close();
  return [enqueued, leased, acked];
}

/** The status, the names of the headers, and the names of the JSON's fields. */
function shapeOf(reply: string): string {
  const [statusLine = '', ...headers] = reply.slice(0, reply.indexOf('\r\n\r\n')).split('\r\n');
  const names = headers.map((header) => header.slice(0, header.indexOf(':')).toLowerCase()).sort();
  const fields = [...bodyOf(reply).matchAll(/"(\w+)":/g)].map(([, name]) => name);
  return [statusLine, ...names, ...fields].join(' ');
}

/**
 * Makes sure that the baseline answers what the broker does: the same status, headers and fields, at about the
 * same length. Otherwise the comparison would say nothing.
 */
export async function assertSameReplies(barePort: number, brokerPort: number): Promise<void> {
  const bare = await repliesOf(barePort);
  for (const [step, expected] of (await repliesOf(brokerPort)).entries()) {
    const reply = bare[step] ?? '';
    if (shapeOf(reply) !== shapeOf(expected) || Math.abs(reply.length - expected.length) > MAX_DIFFERENCE) {
      throw new Error(`the baseline answers something else than the broker:\n${reply}\n\n${expected}`);
    }
  }
}
