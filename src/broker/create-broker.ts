import type { Logger } from 'pino';
import { LIMITS } from '../domain/limits.ts';
import type { Grant } from '../domain/task.ts';
import type { Stamped, Store } from '../store/store.ts';
import type { Broker } from './broker.ts';
import { Dispatcher } from './dispatcher.ts';
import { enqueue } from './enqueue.ts';
import { deleteQueue, purgeQueue } from './queues.ts';
import { Reaper } from './reaper.ts';
import { StoreClock } from './store-clock.ts';

export interface BrokerOptions {
  log: Logger;
  /** Long-polls that may be parked at once. */
  maxWaiters: number;
}

/** Wires the capabilities to a store that is open. */
export function createBroker(store: Store, { log, maxWaiters }: BrokerOptions): Broker {
  const clock = new StoreClock();

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

  const dispatcher = new Dispatcher(store, {
    maxWaiters,
    onReply: heard,
    giveBack: (grants) => void broker.giveBack(grants),
  });

  const settle: Broker['settle'] = async (requests) => {
    const reply = await store.settle(
      requests.map((request) => {
        if (request.verb === 'nack') return { ...request, random: Math.random() };
        if (request.verb === 'heartbeat') return { ...request, maxRuntimeMs: LIMITS.maxRuntimeMs };
        return request;
      }),
    );
    const results = heard(reply);
    for (const result of results) {
      if (result.outcome === 'settled') {
        if (result.state === 'ready' && !result.replayed) dispatcher.wake(result.queue, 1);
      } else if (result.readied !== undefined) dispatcher.wake(result.readied, 1);
    }
    return { now: reply.now, results };
  };

  const broker: Broker = {
    now: () => clock.now(),

    enqueue: (entries) =>
      enqueue(store, entries, {
        heard,
        ready: (queue, tasks) => dispatcher.wake(queue, tasks),
        failed: (error) => log.error({ err: error }, 'a part of a batch was not stored: its producer is told which'),
      }),

    lease: (request) => dispatcher.lease(request),

    async giveBack(grants: readonly Grant[]) {
      try {
        await settle(grants.map(({ task, token }) => ({ verb: 'release', id: task.id, token, delayMs: null })));
      } catch (error) {
        log.warn(
          { err: error, tasks: grants.length },
          'tasks granted to a client that has gone could not be given back: they come back when their leases run out',
        );
      }
    },

    settle,

    cancel: async (item) => only(await store.cancel([item])),

    async redrive(id) {
      const outcome = only(await store.redrive([id]));
      if (outcome.outcome === 'redriven') dispatcher.wake(outcome.task.queue, 1);
      return outcome;
    },

    remove: async (id) => only(await store.remove([id])),

    task: async (id) => only(await store.get([id])),
    tasks: (query) => store.list(query),

    queues: (query) => store.queues(query),
    queue: (name) => store.queue(name),
    waiters: (queue) => dispatcher.waiting(queue),
    async configureQueue(name, settings, mode) {
      const outcome = await store.configure(name, settings, mode);
      // Another retention may let go of tasks at once.
      reaper.expect(outcome.now);
      return outcome;
    },
    pauseQueue: (name) => store.setPaused(name, true),
    async resumeQueue(name) {
      const known = await store.setPaused(name, false);
      if (known) dispatcher.wake(name, 1);
      return known;
    },
    purgeQueue: (name, states) => purgeQueue(store, name, states),
    deleteQueue: (name, force) => deleteQueue(store, name, force),

    check: () => store.check(),
    describe: () => store.describe(),

    start: () => reaper.start(),
    drain: () => dispatcher.drain(),
    stop: async () => {
      dispatcher.drain();
      await reaper.stop();
    },
  };
  return broker;
}
