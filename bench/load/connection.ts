import { connect, type Socket } from 'node:net';

/** Where the first whole reply in the text ends; null while it has not come whole. */
export type Framing = (text: string) => number | null;

/** How long a reply may take before the run counts as failed. */
const REPLY_MS = 90_000;

/**
 * A connection with at most one request under way, and nothing between it and the socket: the load must cost less
 * than what it measures. Texts are Latin-1, so that one character is one byte.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #framing: Framing;
  #buffered = '';
  #pending: { resolve: (reply: string) => void; reject: (error: Error) => void } | null = null;
  #error: Error | null = null;

  private constructor(socket: Socket, framing: Framing) {
    this.#socket = socket;
    this.#framing = framing;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => this.#hear(String(chunk)));
    socket.setTimeout(REPLY_MS, () => socket.destroy(new Error(`silent for ${REPLY_MS} ms`)));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the server closed the connection')));
  }

  static open(port: number, framing: Framing, localAddress?: string): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', ...(localAddress === undefined ? {} : { localAddress }) });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new Connection(socket, framing));
      });
    });
  }

  request(text: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    if (this.#error) reject(this.#error);
    else {
      this.#pending = { resolve, reject };
      this.#socket.write(text, 'latin1');
    }
    return promise;
  }

  /** The next reply that comes without having been asked for, such as a greeting. */
  reply(): Promise<string> {
    const reply = this.request('');
    this.#hear('');
    return reply;
  }

  close(): void {
    this.#pending = null;
    this.#socket.destroy();
  }

  #hear(text: string): void {
    this.#buffered += text;
    const pending = this.#pending;
    const end = pending === null ? null : this.#end();
    if (pending === null || end === null) return;
    const reply = end === this.#buffered.length ? this.#buffered : this.#buffered.slice(0, end);
    this.#buffered = this.#buffered.slice(end);
    this.#pending = null;
    pending.resolve(reply);
  }

  #end(): number | null {
    try {
      return this.#framing(this.#buffered);
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
      return null;
    }
  }

  #fail(error: Error): void {
    this.#error ??= error;
    const pending = this.#pending;
    this.#pending = null;
    pending?.reject(this.#error);
  }
}
