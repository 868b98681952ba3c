#!/usr/bin/env node
// Leases files, computes their SHA-256 and acknowledges them. SIGTERM ends it after the file in hand.
//
// usage: worker.mjs [--drain]   (--drain: exit when the queue has nothing left to do)
// environment: BROKER_URL (http://127.0.0.1:7420), QUEUE (checksums), MAX (10 tasks at a time)
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { hostname } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const { BROKER_URL: broker = 'http://127.0.0.1:7420', QUEUE: queue = 'checksums', MAX: max = '10' } = process.env;
const drain = process.argv.includes('--drain');
const workerId = `mjs-${hostname()}-${process.pid}`;
const leavePoll = new AbortController();
let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop);

/** A poll goes on for a moment: a reply that is on its way already would be missed until its leases run out. */
function stop() {
  stopping = true;
  setTimeout(() => leavePoll.abort(), 250).unref();
}

/**
 * One call, tried again for as long as trying again can help. A timeout, a broken connection, a 429 or a 5xx mean
 * that the outcome is unknown: the call is repeated as it is, with its tokens, so that nothing happens twice.
 */
async function call(method, path, { body, signal, tries = 20 } = {}) {
  for (let attempt = 1; ; attempt++) {
    let waitMs = Math.min(5000, 50 * 2 ** attempt);
    let failure;
    try {
      const response = await fetch(broker + path, {
        method,
        ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
        signal: AbortSignal.any([AbortSignal.timeout(30_000), ...(signal ? [signal] : [])]),
      });
      const reply = await response.json();
      if (response.ok) return reply;
      failure = new Error(`${response.status} ${reply.code}: ${reply.detail}`);
      if (response.status !== 429 && response.status < 500) throw Object.assign(failure, { refused: true });
      waitMs = Math.max(waitMs, 1000 * Number(response.headers.get('retry-after') ?? 0));
    } catch (error) {
      failure = error;
    }
    if (failure.refused || signal?.aborted || attempt === tries) throw failure;
    await sleep(waitMs, undefined, { signal });
  }
}

async function sha256(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** What is to be said about a task to the broker. */
async function work({ id, payload, lease }) {
  const item = { id, leaseToken: lease.token };
  if (stopping) return { ...item, op: 'release' };
  try {
    return { ...item, op: 'ack', result: { sha256: await sha256(Buffer.from(payload.pathBase64, 'base64')) } };
  } catch (error) {
    return { ...item, op: 'nack', error: { code: 'unreadable', message: error.message } };
  }
}

/** Tells the broker; what it refuses (a lease that was lost) is dropped, because another worker has the task. */
async function settle(items) {
  for (let round = 0; items.length > 0 && round < 20; round++) {
    const { results } = await call('POST', '/leases/settle', { body: { items } });
    items = items.filter((_, i) => results[i].status === 429 || results[i].status >= 500);
  }
}

async function drained() {
  const { ready, scheduled, blocked, leased } = await call('GET', `/queues/${queue}/stats`);
  return ready + scheduled + blocked + leased === 0;
}

const poll = `/tasks/lease?queue=${queue}&max=${max}&waitMs=${drain ? 500 : 20_000}&workerId=${workerId}`;
while (!stopping) {
  let tasks;
  try {
    ({ tasks } = await call('GET', poll, { signal: leavePoll.signal, tries: Infinity }));
  } catch (error) {
    if (stopping) break;
    throw error;
  }
  const items = [];
  for (const task of tasks) items.push(await work(task));
  try {
    await settle(items);
  } catch (error) {
    console.error(`dropped ${items.length} tasks: ${error.message}`);
  }
  if (drain && tasks.length === 0 && (await drained())) break;
}
