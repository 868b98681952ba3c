import type { Logger } from 'pino';
import { LIMITS } from '../domain/limits.ts';
import { type Grant, isTerminal } from '../domain/task.ts';
import type { Granted, Stamped, Store } from '../store/store.ts';
import type { AckRequest, Broker, NextLease } from './broker.ts';
import { Dispatcher } from './dispatcher.ts';
import { enqueue } from './enqueue.ts';
import { deleteQueue, purgeQueue } from './queues.ts';
import { Operations } from './operations.ts';
import { Pace } from './pace.ts';
import { NamedLeases } from './named-leases.ts';
import { PressureGuard, PROCESS_GAUGE, type ProcessGauge } from './pressure-guard.ts';
import { Reaper } from './reaper.ts';
import { StoreClock } from './store-clock.ts';
import { TaskWaits } from './task-waits.ts';
import { mintToken } from './token-mint.ts';

export interface BrokerOptions {
  log: Logger;
  /** Long-polls that may be parked at once. */
  maxWaiters: number;
  /** Of the process itself, when left out. */
  gauge?: ProcessGauge;
}

/** Wires the capabilities to a store that is open. */
export function createBroker(store: Store, { log, maxWaiters, gauge = PROCESS_GAUGE }: BrokerOptions): Broker {
  const clock = new StoreClock();
  const guard = new PressureGuard(store, gauge, log);

  /** Every reply tells the time and what falls due. */
  function heard<Result>(reply: Stamped<Result>): readonly Result[] {
    clock.heard(reply.now);
    reaper.expect(reply.dueAt);
    return reply.results;
  }

  function only<Result>(reply: Stamped<Result>): Result {
    const [result] = heard(reply);
    if (result === undefined) throw new Error('the store answered a call of one with nothing');
    return result;
  }

  const reaper = new Reaper(store, clock, log, (report) => {
    for (const queue of report.readied) dispatcher.wake(queue, 1);
  });

  const pace = new Pace();
  const operations = new Operations(store, {
    clock,
    pace,
    log,
    onRedriven: (queue) => dispatcher.wake(queue, 1),
  });

  const hasRoom = (): boolean => dispatcher.size + named.sharing + waits.waiting < maxWaiters;
  const dispatcher = new Dispatcher(store, {
    hasRoom,
    onReply: heard,
    giveBack: (grants, requestId) => track(giveBack(grants, requestId)),
  });
  const waits = new TaskWaits(store, hasRoom, heard);
  const named = new NamedLeases((grants, requestId) => giveBack(grants, requestId));

  const stopping = new AbortController();

  function drain(): void {
    dispatcher.drain();
    waits.drain();
    stopping.abort();
  }

  const settle: Broker['settle'] = async (requests) => {
    const reply = await store.settle(
      requests.map((request) => {
        if (request.verb === 'nack') return { ...request, random: Math.random() };
        if (request.verb === 'heartbeat') return { ...request, maxRuntimeMs: LIMITS.maxRuntimeMs };
        return request;
      }),
    );
    const results = heard(reply);
    for (const [index, result] of results.entries()) {
      if (result.outcome === 'settled') {
        if (result.state === 'ready' && !result.replayed) dispatcher.wake(result.queue, 1);
        if (isTerminal(result.state)) waits.finished(requests[index]?.id ?? '');
      }
      if (result.readied !== undefined) dispatcher.wake(result.readied, 1);
    }
    return { now: reply.now, results };
  };

  /** Gifts under way: the store must not close before they are done. */
  const givingBack = new Set<Promise<void>>();

  function track(giving: Promise<void>): Promise<void> {
    givingBack.add(giving);
    return giving.finally(() => givingBack.delete(giving));
  }

  /** Those that no other process has found under the request id: its reply may be about to tell of them. */
  async function disowned(grants: readonly Grant[], requestId: string): Promise<readonly Grant[]> {
    const byQueue = [...Map.groupBy(grants, ({ task }) => task.queue)];
    const calls = byQueue.map(([queue, [first]]) => ({ queue, requestId, token: first?.token ?? '' }));
    const results = heard(await store.disown(calls));
    return byQueue.flatMap(([, some], index) => (results[index] === true ? some : []));
  }

  async function giveBack(grants: readonly Grant[], requestId: string | null): Promise<void> {
    try {
      const own = requestId === null ? grants : await disowned(grants, requestId);
      if (own.length === 0) return;
      await settle(own.map(({ task, token }) => ({ verb: 'release', id: task.id, token, delayMs: null })));
    } catch (error) {
      log.warn(
        { err: error, tasks: grants.length },
        'tasks granted to a client that has gone could not be given back: they come back when their leases run out',
      );
    }
  }

  /** An ack names the call that leases after it: asked again, it finds what that was granted. */
  async function leaseNext(
    { id, token: acked }: AckRequest,
    { max, leaseMs, workerId }: NextLease,
    { queue, replayed }: { queue: string; replayed: boolean },
  ): Promise<readonly Grant[]> {
    const requestId = `ack:${id}:${acked}`;
    const asking = { requestId, waitMs: null, signal: new AbortController().signal, hasRoom };
    try {
      const reply = await named.call(requestId, asking, async (token) => {
        const calls = [{ queue, token, max, leaseMs, workerId, requestId }];
        const answered: Granted = await (replayed ? store.recall(calls) : store.lease(calls));
        for (const readied of answered.readied ?? []) dispatcher.wake(readied, 1);
        const [grants = []] = heard(answered);
        return { outcome: 'granted', grants };
      });
      return reply.outcome === 'granted' ? reply.grants : [];
    } catch (error) {
      log.warn({ err: error }, 'an ack was stored, but the lease it asked for failed: its worker polls for more');
      return [];
    }
  }

  const broker: Broker = {
    now: () => clock.now(),
    pressure: () => guard.pressure,

    async enqueue(entries) {
      const { pressure } = guard;
      if (pressure !== null) return { outcome: 'under_pressure', pressure };
      return enqueue(store, entries, {
        heard,
        ready: (queue, tasks) => dispatcher.wake(queue, tasks),
        ended: (queue, ids) => {
          for (const id of ids) waits.finished(id);
          dispatcher.wake(queue, ids.length);
        },
        failed: (error) => log.error({ err: error }, 'a part of a batch was not stored: its producer is told which'),
      });
    },

    lease(request) {
      if (request.requestId === null) return dispatcher.lease(request, mintToken());
      // Names that clients give and names that the broker gives are kept apart.
      const requestId = `client:${request.requestId}`;
      const { queues, waitMs, signal } = request;
      const asking = { requestId, waitMs, signal, hasRoom };
      return named.call(JSON.stringify([requestId, ...queues]), asking, (token, allGone, left) =>
        dispatcher.lease({ ...request, requestId, waitMs: left, signal: allGone }, token),
      );
    },

    delivered: (grants) => named.written(grants),

    giveBack: (grants) => track(named.lost(grants)),

    settle,

    async ack(request, next) {
      const { now, results } = await settle([request]);
      const [outcome] = results;
      if (outcome === undefined) throw new Error('the store answered a settle of one with nothing');
      const grants = next !== null && outcome.outcome === 'settled' ? await leaseNext(request, next, outcome) : [];
      return { now, outcome, grants };
    },

    async cancel(item) {
      const outcome = only(await store.cancel([item]));
      if (outcome.outcome === 'cancelled') waits.finished(item.id);
      if (outcome.readied !== undefined) dispatcher.wake(outcome.readied, 1);
      return outcome;
    },

    async redrive(id) {
      const outcome = only(await store.redrive([id]));
      if (outcome.outcome === 'redriven') dispatcher.wake(outcome.task.queue, 1);
      return outcome;
    },

    remove: async (id) => only(await store.remove([id])),

    task: async (id) => only(await store.get([id])),
    finishedTask: (id, waitMs, signal) => waits.wait(id, waitMs, signal),
    tasks: (query) => store.list(query),

    queues: (query) => store.queues(query),
    queue: (name) => store.queue(name),
    waiters: (queue) => dispatcher.waiting(queue),
    async configureQueue(name, settings, mode) {
      const outcome = await store.configure(name, settings, mode);
      // Another retention may let go of tasks at once, and so may other limits.
      reaper.expect(outcome.now);
      dispatcher.wake(name, 1);
      return outcome;
    },
    pauseQueue: (name) => store.setPaused(name, true),
    async resumeQueue(name) {
      const known = await store.setPaused(name, false);
      if (known) dispatcher.wake(name, 1);
      return known;
    },
    async purgeQueue(name, states) {
      const purged = await purgeQueue(store, pace, name, states);
      // What is left of a group may have come to its turn.
      if (purged !== null) dispatcher.wake(name, 1);
      return purged;
    },
    deleteQueue: (name, force) => deleteQueue(store, pace, name, force),

    redriveMany: (queue, request) => operations.redrive(queue, request),
    operation: (id) => operations.get(id),
    cancelOperation: (id) => operations.cancel(id),

    check: () => store.check(),
    describe: () => store.describe(),
    backup: () => store.backup(stopping.signal),

    start() {
      reaper.start();
      guard.start();
      operations.start();
    },
    drain,
    stop: async () => {
      drain();
      const services = [reaper.stop(), guard.stop(), operations.stop()];
      await Promise.all([...services, dispatcher.idle(), named.idle()]);
      // What the last replies bring about, such as a client that has gone, begins before the next turn of the event loop.
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      await Promise.all(givingBack);
    },
  };
  return broker;
}
