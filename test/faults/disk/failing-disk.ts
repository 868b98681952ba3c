import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { until } from '../../support/until.ts';
import { BrokerProcess, SOURCE } from '../homes/broker-process.ts';
import { type DiskFault, recorderEnv, setDiskFault } from './recorder.ts';

const PAYLOAD = 'x'.repeat(3000);
/** Posted while the disk has room: more than one checkpoint of SQLite. */
const STORED = 600;
const LEASED = 40;
/** The disk still takes what does not make a file longer; that much is more than a log that is used again can hold. */
const MOST_ACCEPTED = 5000;
const LEASE_MS = 3_600_000;
/** Of the lease that ends while the disk fails. */
const SHORT_LEASE_MS = 500;

/** What callers must be told while the disk is as it is. */
const ANSWERS = {
  full: { status: 507, code: 'store_full' },
  unsyncable: { status: 503, code: 'store_unavailable' },
} as const;

interface Task {
  id: string;
  state: string;
  attempt: number;
  lease: { token: string };
}

interface Reply {
  status: number;
  body: Partial<Task> & { code?: string; retryable?: boolean; tasks?: Task[]; replayed?: boolean } & Record<
      string,
      unknown
    >;
}

/**
 * A broker on a disk that fails and works again: what does not fit is refused with an answer that is true, reads go on, nothing is done
 * by half, and once the disk works all goes on without a restart. One that is killed meanwhile has lost nothing that it answered.
 * @returns what was seen, in one line
 * @throws AssertionError for the first rule that does not hold
 */
export async function endureFailingDisk(fault: Exclude<DiskFault, 'none'>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lessor-disk-'));
  const data = join(folder, 'data');
  const file = join(data, 'lessor.db');
  const faultFile = join(folder, 'fault');
  mkdirSync(data);
  setDiskFault(faultFile, 'none');
  const env = { LESSOR_STORE: `sqlite:${file}`, ...recorderEnv({ root: data, faultFile }) };
  const broker = await BrokerProcess.start({ name: 'failing-disk', code: SOURCE, env });
  try {
    const seen = await serve(broker.url, fault, faultFile);
    setDiskFault(faultFile, fault);
    await broker.kill();
    // Starts on the bad disk or says in one line why it does not; either way what was stored stays.
    const refusal = await broker.start().then(
      () => null,
      (error: unknown) => String(error),
    );
    if (refusal === null) await allThere(broker.url, seen);
    else assert.match(refusal, /lessor: \S+ .+/);
    await broker.kill();
    setDiskFault(faultFile, 'none');
    await broker.start();
    await allThere(broker.url, seen);
    assert.equal((await call(broker.url, 'POST', '/tasks', { queue: 'q' })).status, 201);
    await broker.terminate();
    const db = new DatabaseSync(file);
    const [result] = db.prepare('PRAGMA integrity_check').all();
    db.close();
    assert.deepEqual({ ...result }, { integrity_check: 'ok' });
    const start = refusal === null ? 'a start on it worked' : 'a start on it was refused';
    return `${seen.states.size} tasks kept; meanwhile ${seen.accepted} more were taken, and ${seen.acked} of ${LEASED} acks; ${start}`;
  } finally {
    await broker.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Seen {
  /** Of each task that was answered, by id. */
  states: Map<string, string>;
  accepted: number;
  acked: number;
}

async function serve(url: string, fault: Exclude<DiskFault, 'none'>, faultFile: string): Promise<Seen> {
  const { status, code } = ANSWERS[fault];
  const states = new Map<string, string>();
  const post = async (key?: string): Promise<Reply> => {
    const reply = await call(url, 'POST', '/tasks', { queue: 'q', payload: PAYLOAD }, key);
    if (reply.status === 201) states.set(String(reply.body.id), 'ready');
    return reply;
  };
  /** On a disk that works only a machine that stands still brings about a 503. */
  const store = (key: string): Promise<boolean> =>
    until(
      async () => {
        const { status: answered, body } = await post(key);
        assert.ok([200, 201, 503].includes(answered), JSON.stringify(body));
        if (answered !== 503) states.set(String(body.id), 'ready');
        return answered !== 503;
      },
      { what: 'a task is stored on a disk that works' },
    );
  const lease = async (queue: string, max: number, leaseMs: number): Promise<Task[]> => {
    const { body } = await call(url, 'POST', '/tasks/lease', { queue: [queue], max, leaseMs, waitMs: 0 });
    return body.tasks ?? [];
  };
  const refused = (reply: Reply): void => {
    assert.deepEqual(
      [reply.status, reply.body.code, reply.body.retryable],
      [status, code, true],
      JSON.stringify(reply),
    );
  };

  for (let number = 0; number < STORED; number++) await store(`stored-${number}`);
  await call(url, 'POST', '/tasks', { queue: 'short' });
  const [short] = await lease('short', 1, SHORT_LEASE_MS);
  const leased = await lease('q', LEASED, LEASE_MS);
  assert.equal(leased.length, LEASED);
  for (const { id } of leased) states.set(id, 'leased');

  setDiskFault(faultFile, fault);
  let accepted = 0;
  let reply = await post('once');
  for (let number = 0; reply.status === 201 && number < MOST_ACCEPTED; number++, accepted++) reply = await post();
  refused(reply);
  refused(
    await call(url, 'POST', '/tasks/batch', {
      tasks: Array.from({ length: 100 }, () => ({ queue: 'q', payload: PAYLOAD })),
    }),
  );

  // Each ack is done or refused, and what was refused is as it was.
  let acked = 0;
  const owed: Task[] = [];
  for (const task of leased) {
    const ack = await call(url, 'POST', `/tasks/${task.id}/ack`, { leaseToken: task.lease.token });
    if (ack.status === 200) {
      acked++;
      states.set(task.id, 'completed');
      continue;
    }
    refused(ack);
    owed.push(task);
  }
  await allThere(url, { states });
  assert.equal((await call(url, 'GET', '/livez')).status, 200);
  const readiness = await call(url, 'GET', '/readyz');
  assert.ok(readiness.status === 200 || readiness.body.code === 'store_unavailable', JSON.stringify(readiness));

  setDiskFault(faultFile, 'none');
  assert.equal((await post('once')).status, accepted > 0 ? 200 : 201);
  for (const task of owed) {
    const ack = await call(url, 'POST', `/tasks/${task.id}/ack`, { leaseToken: task.lease.token });
    assert.deepEqual([ack.status, ack.body.replayed], [200, false]);
    states.set(task.id, 'completed');
  }
  assert.equal((await call(url, 'GET', '/readyz')).status, 200);
  const [again] = await until(
    async () => {
      const tasks = await lease('short', 1, LEASE_MS);
      return tasks.length > 0 ? tasks : null;
    },
    { what: 'the lease that ran out meanwhile is granted anew' },
  );
  assert.deepEqual([again?.id, again?.attempt], [short?.id, 2]);
  await allThere(url, { states });
  return { states, accepted, acked };
}

/** Every task is in the state that was answered last, and the queue counts no others. */
async function allThere(url: string, { states }: Pick<Seen, 'states'>): Promise<void> {
  const found = new Map<string, string>();
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { status, body } = await call(
      url,
      'GET',
      `/tasks?queue=q&limit=100${cursor === '' ? '' : `&cursor=${cursor}`}`,
    );
    assert.equal(status, 200);
    for (const { id, state } of body.tasks ?? []) found.set(id, state);
    cursor = typeof body['nextCursor'] === 'string' ? body['nextCursor'] : null;
  }
  for (const [id, state] of states) assert.equal(found.get(id), state, `task ${id}`);
  assert.equal(found.size, states.size, 'a task that was refused is stored');
  const { body } = await call(url, 'GET', '/queues/q/stats');
  for (const state of ['ready', 'leased', 'completed']) {
    const counted = [...found.values()].filter((is) => is === state).length;
    assert.equal(body[state], counted, `tasks that are ${state}`);
  }
}

async function call(url: string, method: string, path: string, body?: object, key?: string): Promise<Reply> {
  const reply = await fetch(url + path, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: reply.status, body: (await reply.json()) as Reply['body'] };
}
