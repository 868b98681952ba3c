import { serve, startAgent, type Agent } from '../process/agent.ts';
import { PAYLOAD, QUEUE } from '../load/payload.ts';
import { importPeer, installNpmPeers } from './npm-peers.ts';

/** As much of BullMQ as is used here (https://docs.bullmq.io). */
interface BullMq {
  Queue: new (name: string, options: { connection: Connection }) => { addBulk(jobs: readonly Job[]): Promise<unknown> };
  Worker: new (
    name: string,
    processor: () => Promise<void>,
    options: { connection: Connection; concurrency: number },
  ) => { on(event: 'completed' | 'failed' | 'error', listener: () => void): void; close(): Promise<void> };
}

interface Connection {
  host: string;
  port: number;
  maxRetriesPerRequest: null;
}

interface Job {
  name: string;
  data: unknown;
  opts: { removeOnComplete: boolean };
}

interface ProduceArgs {
  port: number;
  jobs: number;
  batch: number;
  /** Calls of `addBulk` under way at once. */
  atOnce: number;
}

function connectionTo(port: number): Connection {
  return { host: '127.0.0.1', port, maxRetriesPerRequest: null };
}

async function bullMq(): Promise<BullMq> {
  return (await importPeer(installNpmPeers().folder, 'bullmq')) as BullMq;
}

type BullQueue = InstanceType<BullMq['Queue']>;

/** The queue at each port, which is connected to once and then ready for every round. */
const queues = new Map<number, BullQueue>();

async function queueAt(port: number): Promise<BullQueue> {
  let queue = queues.get(port);
  if (queue === undefined) {
    const { Queue } = await bullMq();
    queue = new Queue(QUEUE, { connection: connectionTo(port) });
    queues.set(port, queue);
  }
  return queue;
}

/** Adds jobs in bulk. They are removed when completed, which is the least work for BullMQ. */
async function produce({ port, jobs, batch, atOnce }: ProduceArgs): Promise<void> {
  const queue = await queueAt(port);
  const bulk = Array.from({ length: batch }, () => ({
    name: 'bench',
    data: PAYLOAD,
    opts: { removeOnComplete: true },
  }));
  let left = jobs;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left > 0) {
        left -= batch;
        await queue.addBulk(bulk);
      }
    }),
  );
}

let completed = 0;
let awaited = { jobs: Number.POSITIVE_INFINITY, done: (): void => {} };
let stopWorker: (() => Promise<void>) | null = null;

/** Starts a worker that does nothing with its jobs. */
async function work({ port, concurrency }: { port: number; concurrency: number }): Promise<void> {
  const { Worker } = await bullMq();
  const worker = new Worker(QUEUE, async () => {}, { connection: connectionTo(port), concurrency });
  worker.on('completed', () => {
    completed++;
    if (completed >= awaited.jobs) awaited.done();
  });
  worker.on('error', () => process.exit(1));
  stopWorker = () => worker.close();
}

/** Resolves when the worker has completed as many more jobs as this. */
function complete({ jobs }: { jobs: number }): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  completed = 0;
  awaited = { jobs, done: resolve };
  return promise;
}

async function stop(): Promise<void> {
  await stopWorker?.();
}

const operations = { complete, produce, stop, work };

export type BullMqAgent = Agent<typeof operations>;

/** Starts a process that uses BullMQ. Nothing here depends on the package: it is loaded from where peers are installed. */
export function startBullMq(): Promise<BullMqAgent> {
  return startAgent<typeof operations>(new URL(import.meta.url));
}

if (import.meta.main) serve(operations);
