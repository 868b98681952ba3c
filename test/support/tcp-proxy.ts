import net from 'node:net';

export interface TcpProxy {
  /** The port to connect to instead of the target's. */
  port: number;
  /** How many connections it has cut. */
  cuts(): number;
  stop(): Promise<void>;
}

/**
 * A proxy on loopback that loses replies: `loses` is asked for each piece that comes back from the target; where it says so,
 * the piece is dropped and the connection reset, so that the client cannot know what became of its requests.
 */
export async function startTcpProxy(targetPort: number, loses: () => boolean): Promise<TcpProxy> {
  const sockets = new Set<net.Socket>();
  let cuts = 0;
  const server = net.createServer((client) => {
    const target = net.connect(targetPort, '127.0.0.1');
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
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    port: address.port,
    cuts: () => cuts,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
