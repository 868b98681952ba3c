import net from 'node:net';

/**
 * A way to a server on loopback that a test can cut, lead elsewhere, or turn into a black hole: then connections stay, and nothing passes
 * in either direction.
 */
export interface TcpLink {
  /** The port to connect to instead of the target's. */
  readonly port: number;
  /** How many connections were made to it. */
  made(): number;
  /** How many of them were reset because a reply was to be lost. */
  cuts(): number;
  /** Nothing passes any more, over connections there are and those that are made. */
  swallow(): void;
  /** What was swallowed is delivered late, and all passes again. */
  restore(): void;
  /** Ends all connections, with whatever was swallowed; new ones lead to another port from now on, and all passes. */
  lead(targetPort: number): void;
  stop(): Promise<void>;
}

/**
 * @param loses asked for each piece that comes back; where it says so, the piece is dropped and the connection reset, so that the client
 *   cannot know what became of its requests
 */
export async function startTcpLink(targetPort: number, loses = (): boolean => false): Promise<TcpLink> {
  const sockets = new Set<net.Socket>();
  let swallowing = false;
  let leadsTo = targetPort;
  let made = 0;
  let cuts = 0;
  const server = net.createServer((client) => {
    made++;
    const target = net.connect(leadsTo, '127.0.0.1');
    const end = (): void => {
      client.destroy();
      target.destroy();
      sockets.delete(client);
      sockets.delete(target);
    };
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', end);
    }
    client.on('data', (piece) => target.write(piece));
    target.on('data', (piece) => {
      if (loses()) {
        cuts++;
        client.resetAndDestroy();
        end();
      } else client.write(piece);
    });
    if (swallowing) for (const socket of [client, target]) socket.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the link has no port');
  return {
    port: address.port,
    made: () => made,
    cuts: () => cuts,
    swallow() {
      swallowing = true;
      for (const socket of sockets) socket.pause();
    },
    restore() {
      swallowing = false;
      for (const socket of sockets) socket.resume();
    },
    lead(port) {
      swallowing = false;
      leadsTo = port;
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
