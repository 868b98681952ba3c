import { connect, type Socket } from 'node:net';

export interface SocketReply {
  status: number;
  /** In lower case. */
  head: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- the shape of a reply is what the tests look at
  body: any;
}

const LENGTH = /\r\ncontent-length: (\d+)\r\n/;
const AGENT = 'Host: 127.0.0.1\r\nContent-Type: application/json\r\n';

/** A connection of one's own, with one request at a time and nothing between it and the socket: thousands cost little. */
export class HttpSocket {
  readonly #socket: Socket;
  #received = '';
  #pending: PromiseWithResolvers<SocketReply> | null = null;
  #failure: Error | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('utf8');
    socket.on('data', (piece) => this.#hear(String(piece)));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  static open(port: number): Promise<HttpSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new HttpSocket(socket));
      });
      // Whatever the server had written is read before it is known to have closed its side.
      socket.on('end', () => socket.end());
    });
  }

  /** @throws Error when the connection ends before the reply has come */
  request(method: string, path: string, body?: unknown): Promise<SocketReply> {
    const pending = Promise.withResolvers<SocketReply>();
    this.#pending = pending;
    if (this.#failure) pending.reject(this.#failure);
    const text = body === undefined ? '' : JSON.stringify(body);
    const length = body === undefined ? '' : `Content-Length: ${Buffer.byteLength(text)}\r\n`;
    this.#socket.write(`${method} ${path} HTTP/1.1\r\n${AGENT}${length}\r\n${text}`);
    return pending.promise;
  }

  /** Ends the writing side, as a client that goes does, but still hears a reply that was written before. */
  hangUp(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
    this.#fail(new Error('the connection was closed'));
  }

  #hear(piece: string): void {
    this.#received += piece;
    const headEnd = this.#received.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const head = this.#received.slice(0, headEnd + 2).toLowerCase();
    const bytes = Buffer.from(this.#received.slice(headEnd + 4));
    const length = Number(LENGTH.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) this.#fail(new Error(`a reply without a length: ${head}`));
    if (bytes.length < length) return;
    this.#received = '';
    const pending = this.#pending;
    this.#pending = null;
    pending?.resolve({ status: Number(head.slice(9, 12)), head, body: JSON.parse(bytes.toString()) });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#pending?.reject(this.#failure);
    this.#pending = null;
  }
}
