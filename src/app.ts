import type { Logger } from 'pino';
import type { Readiness, ReadinessCheck } from '../routes/deps.ts';
import { registerRoutes } from '../routes/index.ts';
import type { Broker, Pressure } from './broker/broker.ts';
import { createBroker } from './broker/create-broker.ts';
import type { Config } from './config.ts';
import { createServer } from './http/server.ts';
import { AddressRefusal, bind, checkAddress } from './startup/address.ts';
import { Connections } from './startup/connections.ts';
import { connectionBounds } from './startup/open-files.ts';
import { openStore } from './store/open-store.ts';
import { type Store, type StoreDescription, StoreError, StoreRefusal } from './store/store.ts';

/** How long idle connections stay open on shutdown: a request that is on its way over one is still served. */
const IDLE_GRACE_MS = 750;

export interface AppOptions {
  log: Logger;
  version: string;
  /** How many files the process may have open; null where that is not known. */
  openFiles: number | null;
}

export interface App {
  /**
   * Opens the store and listens.
   * @returns the base URL and what the store says of itself
   * @throws StoreRefusal, AddressRefusal with the one line that an operator needs; nothing is left open then
   */
  listen(): Promise<{ url: string; store: StoreDescription }>;
  /** Connections that are open. */
  connections(): number;
  /**
   * Drains: readiness fails, parked polls are answered, requests under way and those that still arrive over
   * connections made before are served, and then everything is closed. Takes as long as the slowest request.
   */
  stop(): Promise<void>;
}

/** Whether this is why a broker cannot run here, said in the one line that an operator needs. */
export function isRefusal(error: unknown): error is AddressRefusal | StoreRefusal | StoreError {
  return error instanceof AddressRefusal || error instanceof StoreRefusal || error instanceof StoreError;
}

/** Wires everything; the only file that knows all parts. */
export function createApp(config: Config, { log, version, openFiles }: AppOptions): App {
  const server = createServer({ log });
  const { maxWaiters, maxConnections } = connectionBounds(config.maxWaiters, openFiles);
  if (maxConnections !== null) server.server.maxConnections = maxConnections;
  if (maxWaiters < config.maxWaiters) {
    log.info(
      { openFiles, maxWaiters },
      `this process may have ${openFiles} files open, so that ${maxWaiters} long-polls are held at most; raise it with "ulimit -n" (LimitNOFILE in systemd)`,
    );
  }
  const connections = new Connections(server.server);
  /** What has been started, in order; closed in reverse. */
  const closers: (() => Promise<void>)[] = [];

  async function closeAll(): Promise<void> {
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
  }

  let draining = false;
  let broker: Broker | null = null;

  async function start(): Promise<{ url: string; store: StoreDescription }> {
    if (config.port !== 0) await checkAddress(config.host, config.port);
    const store: Store = await openStore(config.store, log);
    closers.push(() => store.close());
    const running = createBroker(store, { log, maxWaiters });
    broker = running;
    closers.push(() => running.stop());
    const readiness = createReadiness(running, log, () => draining);
    await registerRoutes(server, { broker: running, version, readiness });
    await server.ready();
    closers.push(() => server.close());
    const description = await store.describe();
    running.start();
    return { url: await bind(server.server, config.host, config.port), store: description };
  }

  return {
    async listen() {
      try {
        return await start();
      } catch (error) {
        await closeAll();
        throw error;
      }
    },

    connections: () => connections.size,

    async stop() {
      draining = true;
      // First, because clients that are told to close their connections come back over new ones at once.
      await connections.stopListening();
      connections.refuseReuse();
      broker?.drain();
      await connections.empty(Math.min(IDLE_GRACE_MS, config.shutdownMs / 2));
      await closeAll();
    },
  };
}

/** What anybody may know of it; the log has the rest. */
function whyNotReady(error: unknown): string {
  if (error instanceof StoreError && error.kind === 'full') return 'the store has no room';
  return 'the store does not answer';
}

/** Why no new tasks are taken while all else goes on, so that a broker is ready: acks are what makes room. */
const UNDER_PRESSURE: Record<Pressure, string> = {
  event_loop: 'this broker is overloaded',
  heap: 'this broker is short of memory',
  store: 'the storage is almost full',
  eviction: 'the storage may throw away what it holds',
};

function whatWorks(pressure: Pressure | null): string {
  return pressure === null
    ? 'stores and leases'
    : `leases and settles; new tasks are refused: ${UNDER_PRESSURE[pressure]}`;
}

interface Asked {
  check: ReadinessCheck;
  durability: Readiness['durability'];
}

/** Asks the store itself each time; a change for the worse or the better is logged. */
function createReadiness(broker: Broker, log: Logger, isDraining: () => boolean): () => Promise<Readiness> {
  let stored = true;

  const failed = (detail: string, durability: Readiness['durability']): Asked => {
    stored = false;
    return { check: { name: 'store', ok: false, detail }, durability };
  };

  async function askStore(): Promise<Asked> {
    // What the store says of itself first: it may know why tasks could not be stored.
    let known: StoreDescription | null = null;
    try {
      known = await broker.describe();
      // The store has told the log.
      if (known.unmet !== null) return failed(known.unmet, known.durability);
      await broker.check();
      if (!stored) log.info('the store works again: this broker is ready');
      stored = true;
      return { check: { name: 'store', ok: true, detail: whatWorks(broker.pressure()) }, durability: known.durability };
    } catch (error) {
      if (stored)
        log.warn({ err: error }, 'not ready: the store does not work; see to it, all else recovers by itself');
      const now = known === null ? null : await broker.describe().catch(() => null);
      return failed(now?.unmet ?? whyNotReady(error), typeof now?.unmet === 'string' ? now.durability : null);
    }
  }

  return async () => {
    if (isDraining()) {
      const check: ReadinessCheck = { name: 'shutdown', ok: false, detail: 'this broker is stopping' };
      return { ready: false, checks: [check], durability: null };
    }
    const { check, durability } = await askStore();
    return { ready: check.ok, checks: [{ name: 'shutdown', ok: true, detail: 'running' }, check], durability };
  };
}
