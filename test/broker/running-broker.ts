import assert from 'node:assert/strict';
import { pino } from 'pino';
import type { Broker, LeaseReply } from '../../src/broker/broker.ts';
import { createBroker } from '../../src/broker/create-broker.ts';
import { PROCESS_GAUGE } from '../../src/broker/pressure-guard.ts';
import type { JsonText } from '../../src/domain/json-text.ts';
import type { Grant, TaskRecord } from '../../src/domain/task.ts';
import type { QueueRecord, Store } from '../../src/store/store.ts';
import { WatchedStore } from './watched-store.ts';

/** A lease call, and the client that makes it. */
export interface Poll {
  reply: Promise<LeaseReply>;
  /** What it is granted; fails when it is answered anything else. */
  grants: Promise<readonly Grant[]>;
  /** The client goes. */
  abort(): void;
}

export interface PollOptions {
  order?: 'strict' | 'fair';
  max?: number;
  waitMs?: number;
  requestId?: string;
}

/** A broker without its reaper, on a real store that is watched. */
export class RunningBroker {
  readonly watch: WatchedStore;
  readonly broker: Broker;
  #tasks = 0;

  constructor(store: Store, maxWaiters = 20_000, gauge = PROCESS_GAUGE) {
    this.watch = new WatchedStore(store);
    this.broker = createBroker(this.watch.store, { log: pino({ level: 'silent' }), maxWaiters, gauge });
  }

  /** Stores tasks whose payloads number them in the order in which they were stored; all in one call. */
  async enqueue(queue: string, count = 1): Promise<readonly TaskRecord[]> {
    const plain = {
      type: null,
      priority: 4,
      delayMs: null,
      runAt: null,
      ttlMs: null,
      leaseMs: null,
      maxAttempts: null,
    };
    const rest = {
      backoff: null,
      tags: [],
      metadata: {},
      trace: null,
      unique: null,
      groupKey: null,
      retentionMs: null,
      idempotency: null,
    };
    const entries = Array.from({ length: count }, () => {
      const payload = String(this.#tasks++) as JsonText;
      return { queue, task: { ...plain, ...rest, payload } };
    });
    const reply = await this.broker.enqueue(entries);
    assert.equal(reply.outcome, 'stored');
    return reply.outcome === 'stored'
      ? reply.results.map((result) => (result.outcome === 'stored' ? result.task : assert.fail(result.code)))
      : [];
  }

  poll(queues: string | string[], { order = 'strict', max = 1, waitMs = 60_000, requestId }: PollOptions = {}): Poll {
    const client = new AbortController();
    const reply = this.broker.lease({
      queues: [queues].flat(),
      order,
      max,
      waitMs,
      leaseMs: null,
      workerId: null,
      requestId: requestId ?? null,
      signal: client.signal,
    });
    const grants = reply.then((answer) => (answer.outcome === 'granted' ? answer.grants : assert.fail(answer.outcome)));
    // Whoever is interested awaits it; a poll of which nobody wants the outcome may fail.
    grants.catch(() => {});
    return { reply, grants, abort: () => client.abort() };
  }

  /** Polls that are parked: no call to the store is under way for them. */
  async park(count: number, queues: string | string[], options?: PollOptions): Promise<Poll[]> {
    const polls = Array.from({ length: count }, () => this.poll(queues, options));
    await this.quiet();
    return polls;
  }

  /** No call to the store is under way. */
  quiet(): Promise<void> {
    return this.watch.quiet();
  }

  async queue(name: string): Promise<QueueRecord> {
    const { queue } = await this.watch.store.queue(name);
    assert.ok(queue, `there is no queue ${name}`);
    return queue;
  }
}

/** The numbers of the tasks granted. */
export async function numbers(poll: Poll): Promise<number[]> {
  return (await poll.grants).map(({ task }) => Number(task.payload));
}

/** What has happened to each poll so far, without waiting for it: what it was granted, or null when it still waits. */
export async function soFar(polls: readonly Poll[]): Promise<(readonly Grant[] | null)[]> {
  return Promise.all(polls.map(({ grants }) => Promise.race([grants, Promise.resolve(null)])));
}
