import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { connectionBounds, parseOpenFilesLimit } from '../../src/startup/open-files.ts';
import { HttpSocket, type SocketReply } from '../support/http-socket.ts';
import { seeded, testSeed } from '../support/seeded.ts';
import { until } from '../support/until.ts';
import { type LessorProcess, startLessor, temporaryFolder } from './lessor-process.ts';

/** Polls that are parked, where as many files may be open. */
const POLLS = 15_000;
/** Of them hang up. */
const GOING = 1000;
const TASKS = 4000;
const PRODUCERS = 5;
/** Connections that are being made at once: fewer than the system lets wait to be accepted. */
const AT_ONCE = 64;
/** Long enough for all that the test does, so that no lease and no wait ends by itself. */
const LEASE_MS = 600_000;
const TASK = { queue: 'q' };

interface Granted {
  id: string;
  attempt: number;
  lease: { token: string; fence: number };
}

interface Poll {
  socket: HttpSocket;
  /** Null when it ended without one. */
  reply: Promise<SocketReply | null>;
  gone: boolean;
}

function openFiles(): number | null {
  try {
    return parseOpenFilesLimit(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    // Not Linux.
    return null;
  }
}

describe('a broker that holds 15,000 polls', () => {
  const seed = testSeed();
  const folder = temporaryFolder();
  let lessor: LessorProcess;
  let caller: HttpSocket;
  let producers: HttpSocket[];
  const polls: Poll[] = [];

  before(async () => {
    lessor = await startLessor({ dir: folder.dir });
    caller = await HttpSocket.open(lessor.port);
    producers = await Promise.all(Array.from({ length: PRODUCERS }, () => HttpSocket.open(lessor.port)));
  });

  after(async () => {
    for (const { socket } of polls) socket.close();
    for (const socket of [caller, ...producers]) socket.close();
    await lessor.stop();
    folder.remove();
  });

  async function stats(): Promise<Record<string, number>> {
    return (await caller.request('GET', '/queues/q/stats')).body;
  }

  async function park(count: number): Promise<void> {
    let left = count;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (left-- > 0) {
          const socket = await HttpSocket.open(lessor.port);
          const reply = socket.request('GET', `/tasks/lease?queue=q&waitMs=60000&leaseMs=${LEASE_MS}`);
          polls.push({ socket, reply: reply.catch(() => null), gone: false });
        }
      }),
    );
    await until(async () => (await stats())['waiters'] === count, { timeoutMs: 50_000, what: `${count} are parked` });
  }

  // The embedded store has no slow poll that would find a task whose wake-up was missed: it would wait for ever.
  it(`grants each task once and at once to one that is there, while 1,000 hang up (LESSOR_SEED=${seed})`, async (t) => {
    const random = seeded(seed);
    // The clients' ends of the connections are this process's files, of which it needs a few more.
    const { maxWaiters } = connectionBounds(2 * POLLS, openFiles());
    const count = Math.min(POLLS, maxWaiters - 500);
    if (count < POLLS) t.diagnostic(`only ${count} polls: more files may not be open`);
    await park(count);

    const granted: Granted[] = [];
    let answered = 0;
    const serve = async ({ reply }: Poll): Promise<void> => {
      const answer = await reply;
      if (answer === null) return;
      answered++;
      assert.equal(answer.status, 200);
      granted.push(...answer.body.tasks);
    };
    const served = Promise.all(polls.map(serve));
    const going: Poll[] = [];
    const hangUp = (poll: Poll | undefined): void => {
      if (poll === undefined || poll.gone || going.length === GOING) return;
      poll.gone = true;
      poll.socket.hangUp();
      going.push(poll);
    };
    let stored = 0;
    const pour = async (producer: HttpSocket): Promise<void> => {
      while (stored < TASKS) {
        const some = Math.min(TASKS - stored, 1 + Math.floor(random() * 20));
        stored += some;
        const storing = producer.request('POST', '/tasks/batch', { tasks: Array.from({ length: some }, () => TASK) });
        // Of those about to be served, so that many go in the instant in which they are granted a task.
        for (let tries = 0; tries < (1.2 * some * GOING) / TASKS; tries++) {
          hangUp(polls[answered + going.length + Math.floor(random() * 100)]);
        }
        assert.equal((await storing).status, 201);
      }
    };
    await Promise.all(producers.map(pour));
    for (const poll of polls) hangUp(poll);
    await until(() => granted.length >= TASKS, { what: 'all tasks are granted' });
    // One that hung up may have had its reply already.
    const empty = (await Promise.all(going.map(({ reply }) => reply))).filter((reply) => reply === null).length;
    await until(async () => (await stats())['waiters'] === count - answered - empty, {
      what: 'nobody waits but those that are there and have nothing',
    });

    assert.equal(granted.length, TASKS);
    assert.equal(new Set(granted.map(({ id }) => id)).size, TASKS, 'none is granted to two');
    for (const { attempt } of granted) assert.equal(attempt, 1);
    for (let first = 0; first < TASKS; first += 1000) {
      const some = granted.slice(first, first + 1000);
      const items = some.map(({ id, lease }) => ({ id, leaseToken: lease.token, op: 'ack' }));
      const { status, body } = await caller.request('POST', '/leases/settle', { items });
      assert.deepEqual([status, body.failed], [200, 0]);
    }
    const { body: queue } = await caller.request('GET', '/queues/q');
    // Nothing is leased any more that could expire.
    const { leased, ready, completed } = queue.counts;
    assert.deepEqual([leased, ready, completed], [0, 0, TASKS]);
    assert.deepEqual([queue.totals.expired, queue.totals.leased - queue.totals.released], [0, TASKS]);
    for (const { socket } of polls) socket.close();
    await served;
    t.diagnostic(`${queue.totals.released} grants met a client that had gone; ${GOING - empty} came before it went`);
  });
});
