import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What a network does to connections:
 * - `lose-replies`: now and then a piece that comes back is dropped and the connection reset, so that the client cannot know
 *   what became of its request
 * - `reset`: all connections are reset, and now and then one of those that are made later
 * - `black-hole`: nothing arrives and nothing ends; what was sent arrives once that has passed
 * - `trickle`: a few bytes at a time
 * - `delay`: every piece arrives late, in order
 */
export type NetworkFault = 'none' | 'lose-replies' | 'reset' | 'black-hole' | 'trickle' | 'delay';

const LOSE_SHARE = 0.1;
const RESET_SHARE = 0.05;
const TRICKLE_BYTES = 256;
const TRICKLE_MS = 1;
const MIN_DELAY_MS = 20;
const MAX_DELAY_MS = 200;

/** A TCP proxy on loopback that does to its connections what it is told to. */
export class FaultyProxy {
  readonly #targetPort: number;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #fault: NetworkFault = 'none';
  #random: () => number = () => 0;
  /** Resolves when a black hole has passed. */
  #passed = Promise.withResolvers<void>();

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = net.createServer((client) => this.#join(client));
  }

  static async start(targetPort: number): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(targetPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** To connect to instead of the target's. */
  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
    return address.port;
  }

  /**
   * From now on, until told otherwise.
   * @param random in [0, 1): which pieces and connections it strikes
   */
  become(fault: NetworkFault, random: () => number = () => 0): void {
    this.#fault = fault;
    this.#random = random;
    if (fault === 'reset') for (const socket of this.#sockets) socket.resetAndDestroy();
    if (fault !== 'black-hole') {
      this.#passed.resolve();
      this.#passed = Promise.withResolvers<void>();
    }
  }

  async stop(): Promise<void> {
    this.become('none');
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #join(client: net.Socket): void {
    const target = net.connect({ port: this.#targetPort, host: '127.0.0.1' });
    const end = (): void => {
      client.destroy();
      target.destroy();
    };
    for (const socket of [client, target]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', () => this.#sockets.delete(socket));
    }
    const cut = (): void => {
      client.resetAndDestroy();
      target.resetAndDestroy();
    };
    // A pipe ends with an error when its connection does, which the other direction then learns of.
    this.#pass(client, target, 'request', cut).catch(end);
    this.#pass(target, client, 'reply', cut).catch(end);
  }

  async #pass(from: net.Socket, to: net.Socket, way: 'request' | 'reply', cut: () => void): Promise<void> {
    for await (const piece of from) {
      if (!Buffer.isBuffer(piece)) throw new Error('a socket that is read as bytes gave something else');
      if (this.#fault === 'black-hole') await this.#passed.promise;
      switch (this.#fault) {
        case 'lose-replies':
          if (way === 'reply' && this.#random() < LOSE_SHARE) return cut();
          break;
        case 'reset':
          if (this.#random() < RESET_SHARE) return cut();
          break;
        case 'delay':
          await sleep(MIN_DELAY_MS + this.#random() * (MAX_DELAY_MS - MIN_DELAY_MS));
          break;
        case 'trickle':
          for (let at = 0; at < piece.length; at += TRICKLE_BYTES) {
            await write(to, piece.subarray(at, at + TRICKLE_BYTES));
            await sleep(TRICKLE_MS);
          }
          continue;
        case 'black-hole':
        case 'none':
          break;
      }
      await write(to, piece);
    }
    to.end();
  }
}

function write(to: net.Socket, piece: Buffer): Promise<void> {
  return new Promise((resolve, reject) => to.write(piece, (error) => (error ? reject(error) : resolve())));
}
