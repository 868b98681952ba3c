import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { Link } from './link.ts';
import { type Endpoint, nameOf, type RedisLocation } from './location.ts';

/** How often the Sentinels are asked where the primary is while there is a connection to one. */
const WATCH_MS = 1000;
/** Sentinels that have not let us in by then are left out. */
const CONNECT_MS = 3000;
/** Those that have not answered by then, unless most have. */
const ANSWER_MS = 1000;
const MAX_SENTINELS = 16;

/** Where the Sentinels say that the primary is. */
export class Sentinels {
  readonly #location: RedisLocation;
  readonly #links: readonly Link[];
  #watching: NodeJS.Timeout | undefined;
  #reason: Error | null = null;

  constructor(location: RedisLocation, log: Logger | undefined) {
    this.#location = location;
    const { tls } = location.client;
    this.#links = location.endpoints.slice(0, MAX_SENTINELS).map((endpoint) => {
      let told = false;
      return new Link({
        client: tls === undefined ? {} : { tls },
        endpoint: () => endpoint,
        up: () => {
          if (told) log?.info(`the Sentinel at ${nameOf(endpoint)} is back`);
          told = false;
        },
        down: (reason) => {
          this.#reason = reason;
          if (!told)
            log?.warn(
              { err: reason },
              `the Sentinel at ${nameOf(endpoint)} is lost, and tried for ever; the others are asked`,
            );
          told = true;
        },
      });
    });
  }

  /**
   * Where the primary is now.
   * @throws when no Sentinel says
   */
  async primary(): Promise<Endpoint> {
    await this.#connected();
    const found = await this.#ask();
    if (found === null) {
      const names = this.#location.endpoints.map(nameOf).join(', ');
      const why = this.#reason === null ? '' : ` (${this.#reason.message})`;
      throw new Error(`no Sentinel at ${names} knows a primary "${this.#location.primary}"${why}`);
    }
    return found;
  }

  /** Tells every so often where the primary is. */
  watch(tell: (primary: Endpoint) => void): void {
    this.#watching ??= setInterval(() => {
      void this.#tell(tell);
    }, WATCH_MS);
    this.#watching.unref();
  }

  async #tell(tell: (primary: Endpoint) => void): Promise<void> {
    const found = await this.#ask();
    if (found !== null) tell(found);
  }

  close(): void {
    clearInterval(this.#watching);
    for (const link of this.#links) link.close();
  }

  /** Has all links begin, and waits until one is there or none could be made at once. */
  async #connected(): Promise<void> {
    if (this.#links.some(({ redis }) => redis !== null)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CONNECT_MS);
    const attempts = this.#links.map((link) => link.connect());
    // That all have failed is known by the reason of the last.
    await Promise.race([Promise.any(attempts).catch(() => {}), promise]);
    clearTimeout(timer);
  }

  /** What most of the Sentinels say, or those that answer in time; who knows of the latest failover is believed. */
  async #ask(): Promise<Endpoint | null> {
    const asked = this.#links.flatMap(({ redis }) => (redis === null ? [] : [redis]));
    if (asked.length === 0) return null;
    const answers: { endpoint: Endpoint; epoch: number }[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ANSWER_MS);
    let silent = asked.length;
    const hear = async (redis: Redis): Promise<void> => {
      const answer = await this.#askOne(redis);
      silent--;
      if (answer !== null) answers.push(answer);
      if (silent === 0 || answers.length > this.#links.length / 2) resolve();
    };
    for (const redis of asked) void hear(redis);
    await promise;
    clearTimeout(timer);
    answers.sort((a, b) => b.epoch - a.epoch);
    return answers[0]?.endpoint ?? null;
  }

  async #askOne(redis: Redis): Promise<{ endpoint: Endpoint; epoch: number } | null> {
    try {
      const reply: unknown = await redis.call('SENTINEL', 'MASTER', this.#location.primary);
      if (!Array.isArray(reply)) return null;
      const field = (name: string): string => String(reply[reply.indexOf(name) + 1] ?? '');
      const port = Number(field('port'));
      if (!(port > 0)) return null;
      return { endpoint: { host: field('ip'), port }, epoch: Number(field('config-epoch')) };
    } catch (error) {
      if (error instanceof Error) this.#reason = error;
      return null;
    }
  }
}

/** Stays with a server only when it says itself that it is a primary. */
export async function acceptPrimary(redis: Redis): Promise<void> {
  const role: unknown = await redis.call('ROLE');
  if (Array.isArray(role) && role[0] === 'master') return;
  throw new Error('the server that the Sentinels call the primary is a replica');
}
