import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

const RECHECK_MS = 50;
/** After so long without a new connection, clients that wait for their replies are all connected. */
const QUIET_MS = 10;
/** A turn of the event loop that takes no longer than this leaves next to no time for a connection to be made in. */
const BRIEF_TURN_MS = 0.1;
const MAX_HOLD_MS = 100;
/** Where clients never cease to come, some of them are refused. */
const MAX_ACCEPTED = 4096;

/**
 * The connections of an HTTP server, so that it can stop without any client seeing a failed call. Node's own
 * `close()` resets idle connections at once, under the hands of clients that are about to use them.
 */
export class Connections {
  readonly #server: Server;
  /** Each with the reply that it is at, or was at last. */
  readonly #open = new Map<Socket, ServerResponse | null>();
  /** Connections accepted so far. */
  #accepted = 0;
  #emptied: (() => void) | null = null;

  /** To be made before the server listens. */
  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#accepted++;
      this.#open.set(socket, null);
      socket.once('close', () => {
        this.#open.delete(socket);
        if (this.#open.size === 0) this.#emptied?.();
      });
    });
    server.prependListener('request', this.#note);
  }

  readonly #note = (request: IncomingMessage, reply: ServerResponse): void => {
    if (this.#open.has(request.socket)) this.#open.set(request.socket, reply);
  };

  get size(): number {
    return this.#open.size;
  }

  /** From now on every reply, those under way included, says `Connection: close`. */
  refuseReuse(): void {
    this.#server.prependListener('request', (_request, reply) => endAfter(reply));
    for (const reply of this.#open.values()) if (reply !== null) endAfter(reply);
  }

  /**
   * Accepts no more connections; those that were made before stay open.
   *
   * Closing a listener resets connections that the system has made and the process has not accepted yet, and
   * their clients have sent a request by then. So requests are held for a moment: clients that wait for their
   * replies make no connections, and the queue is accepted to its end. Then the listener is closed at the end of
   * a turn of the event loop that had next to nothing to do: what is left is a connection that is made within
   * that very turn, which no process can keep from being reset.
   */
  async stopListening(): Promise<void> {
    const release = this.#holdRequests();
    const latest = performance.now() + MAX_HOLD_MS;
    let now = performance.now();
    const most = this.#accepted + MAX_ACCEPTED;
    for (let quietSince = now; this.#accepted < most; ) {
      const [begun, before] = [now, this.#accepted];
      await turn();
      now = performance.now();
      if (this.#accepted !== before) quietSince = now;
      else if (now >= latest || (now - quietSince >= QUIET_MS && now - begun <= BRIEF_TURN_MS)) break;
    }
    NetServer.prototype.close.call(this.#server);
    release();
  }

  /** Requests that arrive from now on are handled when the function that this answers is called. */
  #holdRequests(): () => void {
    const server = this.#server;
    const held: [IncomingMessage, ServerResponse][] = [];
    const handlers = server.listeners('request');
    const hold = (request: IncomingMessage, reply: ServerResponse): void => {
      this.#note(request, reply);
      held.push([request, reply]);
    };
    server.removeAllListeners('request').on('request', hold);
    return () => {
      server.off('request', hold);
      for (const handler of handlers) {
        server.on('request', (...exchange) => {
          Reflect.apply(handler, server, exchange);
        });
      }
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
      for (const socket of this.#open.keys()) if (socket.bytesRead === 0) socket.destroy();
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

function endAfter(reply: ServerResponse): void {
  if (!reply.headersSent) reply.setHeader('Connection', 'close');
}
