import type { Logger } from 'pino';
import { ClusterConnection } from './cluster.ts';
import { type Connection, RedisConnection } from './connection.ts';
import type { Library } from './library.ts';
import { type Endpoint, nameOf, type RedisLocation } from './location.ts';
import { acceptPrimary, Sentinels } from './sentinels.ts';
import { ClusterSubscriber, LinkSubscriber, type Subscriber } from './subscriber.ts';

export interface TopologyOptions {
  location: RedisLocation;
  library: Library;
  /** How many replicas must hold what is promised before it is. */
  replicas: number;
  log: Logger | undefined;
  /** The base key of each shard. */
  bases: readonly string[];
  /** There is a connection for commands to a server, the first or another. */
  onReady: (connection: RedisConnection) => void;
}

/** How one kind of home is reached. */
export interface Topology {
  connection: Connection;
  subscriber: Subscriber;
  close(): void;
}

/** Makes what the URL asks for; nothing is connected yet. */
export function makeTopology({ location, bases, ...options }: TopologyOptions): Topology {
  const { client, endpoints, kind } = location;
  switch (kind) {
    case 'single': {
      const [endpoint = { host: 'localhost', port: 6379 }] = endpoints;
      const at = (): typeof endpoint => endpoint;
      const connection = new RedisConnection({ ...options, name: nameOf(endpoint), client, endpoint: at });
      const subscriber = new LinkSubscriber({ client, endpoint: at, log: options.log });
      return { connection, subscriber, close: () => closeAll(connection, subscriber) };
    }
    case 'sentinel': {
      const sentinels = new Sentinels(location, options.log);
      const [forCalls, forWakes] = [new Follower(sentinels), new Follower(sentinels)];
      const name = `the primary "${location.primary}"`;
      const accept = acceptPrimary;
      const connection = new RedisConnection({ ...options, name, client, endpoint: forCalls.find, accept });
      const subscriber = new LinkSubscriber({ client, endpoint: forWakes.find, accept, log: options.log });
      sentinels.watch((primary) => {
        if (forCalls.hasMoved(primary)) {
          options.log?.warn(
            `the Sentinels call ${nameOf(primary)} the primary "${location.primary}" now: connecting to it`,
          );
          connection.drop();
        }
        if (forWakes.hasMoved(primary)) subscriber.drop();
      });
      return { connection, subscriber, close: () => closeAll(connection, subscriber, sentinels) };
    }
    case 'cluster': {
      const connection = new ClusterConnection({ ...options, location, bases });
      const subscriber = new ClusterSubscriber(connection, client, bases.length, options.log);
      return { connection, subscriber, close: () => closeAll(connection, subscriber) };
    }
  }
}

/** Which server a connection was last sent to. */
class Follower {
  readonly #sentinels: Sentinels;
  #last: Endpoint | null = null;

  constructor(sentinels: Sentinels) {
    this.#sentinels = sentinels;
  }

  readonly find = async (): Promise<Endpoint> => {
    this.#last = await this.#sentinels.primary();
    return this.#last;
  };

  /** Whether it is another one now; true once. */
  hasMoved(primary: Endpoint): boolean {
    if (this.#last === null || nameOf(primary) === nameOf(this.#last)) return false;
    this.#last = null;
    return true;
  }
}

function closeAll(...parts: readonly { close(): void }[]): void {
  for (const part of parts) part.close();
}
