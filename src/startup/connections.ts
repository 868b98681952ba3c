import type { Server, ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

const RECHECK_MS = 50;

/**
 * The connections of an HTTP server, so that it can stop without any client seeing a failed call. Node's own
 * `close()` resets idle connections at once, under the hands of clients that are about to use them.
 */
export class Connections {
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  readonly #replies = new Set<ServerResponse>();
  #draining = false;
  #emptied: (() => void) | null = null;

  /** To be made before the server listens. */
  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#open.add(socket);
      socket.once('close', () => {
        this.#open.delete(socket);
        if (this.#open.size === 0) this.#emptied?.();
      });
    });
    server.prependListener('request', (_request, reply) => {
      this.#replies.add(reply);
      reply.once('close', () => this.#replies.delete(reply));
      if (this.#draining) endAfter(reply);
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /** From now on every reply, those under way included, says `Connection: close`. */
  refuseReuse(): void {
    this.#draining = true;
    for (const reply of this.#replies) endAfter(reply);
  }

  /** Accepts no more connections; those that were made before are accepted first and stay open. */
  async stopListening(): Promise<void> {
    // Right after a turn of the event loop the queue of the socket has just been emptied.
    await turn();
    NetServer.prototype.close.call(this.#server);
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

function endAfter(reply: ServerResponse): void {
  if (!reply.headersSent) reply.setHeader('Connection', 'close');
}
