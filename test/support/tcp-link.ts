import net from 'node:net';

/** A way to a server that a test can turn into a black hole: connections stay, and nothing passes in either direction. */
export interface TcpLink {
  /** The port to connect to instead of the target's. */
  readonly port: number;
  /** How many connections were made to it. */
  made(): number;
  /** Nothing passes any more, over connections there are and those that are made. */
  swallow(): void;
  /** What was swallowed is delivered late, and all passes again. */
  restore(): void;
  /** Ends all connections, with whatever was swallowed; new ones lead to another port from now on, and all passes. */
  lead(targetPort: number): void;
  stop(): Promise<void>;
}

export async function startTcpLink(targetPort: number): Promise<TcpLink> {
  const sockets = new Set<net.Socket>();
  let swallowing = false;
  let leadsTo = targetPort;
  let made = 0;
  const server = net.createServer((client) => {
    made++;
    const target = net.connect(leadsTo, '127.0.0.1');
    const end = (): void => {
      client.destroy();
      target.destroy();
      sockets.delete(client);
      sockets.delete(target);
    };
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', end);
      from.on('close', end);
      from.on('data', (piece) => to.write(piece));
      if (swallowing) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the link has no port');
  return {
    port: address.port,
    made: () => made,
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
