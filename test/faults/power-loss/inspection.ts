import assert from 'node:assert/strict';
import { pino } from 'pino';
import { createApp } from '../../../src/app.ts';
import { loadConfig } from '../../../src/config.ts';
import { until } from '../../support/until.ts';
import { QUEUE } from './load.ts';
import type { FoundTask } from './promises.ts';

const ANSWERED_MS = 20_000;

const silent = pino({ level: 'silent' });

interface Page {
  tasks: { id: string; state: string; payload: string }[];
  nextCursor: string | null;
}

/**
 * Starts a broker on what a power cut has left and reads all tasks from it. Sees too that the counts of the queue are right and that
 * the broker takes, grants and settles a new task.
 */
export async function inspect(env: Readonly<Record<string, string>>): Promise<Map<string, FoundTask>> {
  const loaded = loadConfig({ argv: [], env: { LESSOR_PORT: '0', ...env }, readFile: () => '{}' });
  if (loaded.outcome !== 'loaded') throw new Error(JSON.stringify(loaded));
  const app = createApp(loaded.config, { log: silent, version: '0.0.0', openFiles: null });
  const { url } = await app.listen();
  try {
    const found = await readTasks(url);
    await countsAgree(url, found);
    await worksOn(url);
    return found;
  } finally {
    await app.stop();
  }
}

/** Makes a call that may be made twice until its outcome is known. */
async function call(url: string, body?: object, headers: Readonly<Record<string, string>> = {}): Promise<unknown> {
  let text = '';
  await until(
    async () => {
      const reply = await fetch(url, {
        // A broker that stops waits for idle connections.
        headers: { 'content-type': 'application/json', connection: 'close', ...headers },
        ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      });
      text = await reply.text();
      assert.ok(reply.ok || reply.status === 503, `${url} was answered ${reply.status}: ${text}`);
      return reply.ok;
    },
    { timeoutMs: ANSWERED_MS, what: `${url} is answered` },
  );
  // A gap in a payload is zeros, which are no JSON; that payload is then found to be another.
  return JSON.parse(text.replaceAll('\0', '?'));
}

async function readTasks(url: string): Promise<Map<string, FoundTask>> {
  const found = new Map<string, FoundTask>();
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page = (await call(
      `${url}/tasks?queue=${QUEUE}&limit=100&view=full${cursor === '' ? '' : `&cursor=${cursor}`}`,
    )) as Page;
    for (const { id, state, payload } of page.tasks) found.set(id, { state, payload });
    cursor = page.nextCursor;
  }
  return found;
}

async function countsAgree(url: string, found: ReadonlyMap<string, FoundTask>): Promise<void> {
  const stats = (await call(`${url}/queues/${QUEUE}/stats`)) as Record<string, number>;
  for (const state of ['ready', 'scheduled', 'blocked', 'leased', 'completed', 'dead']) {
    const counted = [...found.values()].filter((task) => task.state === state).length;
    assert.equal(
      stats[state],
      counted,
      `the queue counts ${stats[state]} tasks that are ${state}; there are ${counted}`,
    );
  }
}

async function worksOn(url: string): Promise<void> {
  const queue = 'after';
  const { id } = (await call(`${url}/tasks`, { queue }, { 'idempotency-key': 'after' })) as { id: string };
  const { tasks } = (await call(`${url}/tasks/lease`, { queue: [queue], waitMs: 0, requestId: 'after' })) as {
    tasks: { id: string; lease: { token: string } }[];
  };
  assert.equal(tasks[0]?.id, id);
  const acked = (await call(`${url}/tasks/${id}/ack`, { leaseToken: tasks[0]?.lease.token })) as { state: string };
  assert.equal(acked.state, 'completed');
}
