import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

const RECHECK_MS = 50;
/** Turns of the event loop without a new connection after which there are none waiting to be accepted. */
const QUIET_TURNS = 3;
const MAX_HOLD_MS = 100;

/**
 * The connections of an HTTP server, so that it can stop without any client seeing a failed call. Node's own
 * `close()` resets idle connections at once, under the hands of clients that are about to use them.
 */
export class Connections {
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  /** Connections accepted so far. */
  #accepted = 0;
  #emptied: (() => void) | null = null;

  /** To be made before the server listens. */
  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#accepted++;
      this.#open.add(socket);
      socket.once('close', () => {
        this.#open.delete(socket);
        if (this.#open.size === 0) this.#emptied?.();
      });
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * From now on every reply, those under way included, says `Connection: close`. Requests pay nothing for it before:
   * which reply is under way on a connection, Node knows.
   */
  refuseReuse(): void {
    this.#server.prependListener('request', (_request, reply) => endAfter(reply));
    for (const socket of this.#open) {
      const reply = replyUnderWay(socket);
      if (reply !== null) endAfter(reply);
    }
  }

  /**
   * Accepts no more connections; those that were made before stay open.
   *
   * Closing a listener resets connections that the system has made and the process has not accepted yet, and
   * their clients have sent a request by then. So requests are held for a few turns of the event loop: turns
   * become short, clients that wait for their replies make no connections, and the queue is accepted to its end.
   */
  async stopListening(): Promise<void> {
    const release = this.#holdRequests();
    const latest = performance.now() + MAX_HOLD_MS;
    for (let quiet = 0; quiet < QUIET_TURNS && performance.now() < latest; quiet++) {
      const before = this.#accepted;
      await turn();
      if (this.#accepted !== before) quiet = 0;
    }
    NetServer.prototype.close.call(this.#server);
    release();
  }

  /** Requests that arrive from now on are handled when the function that this answers is called. */
  #holdRequests(): () => void {
    const server = this.#server;
    const held: [IncomingMessage, ServerResponse][] = [];
    const handlers = server.listeners('request');
    const hold = (request: IncomingMessage, reply: ServerResponse): void => void held.push([request, reply]);
    server.removeAllListeners('request').on('request', hold);
    return () => {
      server.off('request', hold);
      for (const handler of handlers) server.on('request', (...exchange) => Reflect.apply(handler, server, exchange));
      for (const [request, reply] of held) server.emit('request', request, reply);
    };
  }

  /**
   * Waits until every connection is closed.
   * @param graceMs for how long idle ones stay open, so that requests that are on their way are still served
   */
  async empty(graceMs: number): Promise<void> {
    await this.#emptyWithin(graceMs);
    while (this.#open.size > 0) {
      // Requests that have arrived are read first, so that their connections are no longer idle.
      await turn();
      this.#server.closeIdleConnections();
      for (const socket of this.#open) if (socket.bytesRead === 0) socket.destroy();
      await this.#emptyWithin(RECHECK_MS);
    }
  }

  async #emptyWithin(ms: number): Promise<void> {
    if (this.#open.size === 0) return;
    const timer = new AbortController();
    const emptied = new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
    await Promise.race([emptied, sleep(ms, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
    this.#emptied = null;
  }
}

/** What Node calls a connection's reply; it is not documented. */
const REPLY = '_httpMessage';

/** The reply that the connection is at; null between requests. */
function replyUnderWay(socket: Socket): ServerResponse | null {
  return REPLY in socket && socket[REPLY] instanceof ServerResponse ? socket[REPLY] : null;
}

function endAfter(reply: ServerResponse): void {
  if (!reply.headersSent) reply.setHeader('Connection', 'close');
}
