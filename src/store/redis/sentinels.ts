import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { isTimeout } from './failures.ts';
import { Link } from './link.ts';
import { type Endpoint, nameOf, type RedisLocation } from './location.ts';

/** How often the Sentinels are asked where the primary is while there is a connection to one. */
const WATCH_MS = 1000;
/** Sentinels that have not let us in by then are left out. */
const CONNECT_MS = 3000;
/** Those that have not answered by then, unless most have. */
const ANSWER_MS = 1000;
const MAX_SENTINELS = 16;

/** Which server is the primary, and since which failover. */
interface Belief {
  endpoint: Endpoint;
  /** Grows with every failover. */
  epoch: number;
}

/** Where the Sentinels say that the primary is. */
export class Sentinels {
  readonly #location: RedisLocation;
  readonly #links: readonly Link[];
  #watching: NodeJS.Timeout | undefined;
  #reason: Error | null = null;
  #believed: Belief | null = null;

  constructor(location: RedisLocation, log: Logger | undefined) {
    this.#location = location;
    this.#links = location.endpoints.slice(0, MAX_SENTINELS).map((endpoint) => {
      let told = false;
      return new Link({
        client: location.sentinelClient,
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
      const why = this.#reason === null ? '' : ` (${this.#reason.message}${passwordHint(this.#reason)})`;
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

  /**
   * What the Sentinels say that answer in time; no more are waited for once most have answered and one of them knows of the latest failover
   * that was ever heard of.
   */
  async #ask(): Promise<Endpoint | null> {
    const asked = this.#links.filter(({ redis }) => redis !== null);
    if (asked.length === 0) return null;
    const answers: Belief[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ANSWER_MS);
    let silent = asked.length;
    const hear = async (link: Link): Promise<void> => {
      const answer = await this.#askOne(link);
      silent--;
      if (answer !== null) answers.push(answer);
      const upToDate = answers.some(({ epoch }) => epoch >= (this.#believed?.epoch ?? 0));
      if (silent === 0 || (upToDate && this.#areMost(answers))) resolve();
    };
    for (const link of asked) void hear(link);
    await promise;
    clearTimeout(timer);
    return this.#judge(answers);
  }

  /**
   * Believes who knows of the latest failover. An answer of an earlier epoch than one that was believed comes from a Sentinel that has not
   * heard of a failover: it counts only when most of all Sentinels say the same, as after they were set up anew.
   */
  #judge(answers: readonly Belief[]): Endpoint | null {
    const [latest] = answers.toSorted((a, b) => b.epoch - a.epoch);
    if (latest === undefined) return null;
    const before = this.#believed;
    const names = (belief: Belief): boolean => nameOf(belief.endpoint) === nameOf(latest.endpoint);
    if (before === null || latest.epoch > before.epoch) this.#believed = latest;
    else if (latest.epoch < before.epoch) {
      if (this.#areMost(answers.filter(names))) this.#believed = latest;
    } else {
      // Where answers of one epoch differ, those that say nothing new are believed, or the broker would go to and fro.
      const said = answers.filter(({ epoch }) => epoch === latest.epoch).map(({ endpoint }) => nameOf(endpoint));
      if (!said.includes(nameOf(before.endpoint))) this.#believed = latest;
    }
    return this.#believed?.endpoint ?? null;
  }

  #areMost(answers: readonly Belief[]): boolean {
    return answers.length > this.#links.length / 2;
  }

  /**
   * During a failover SENTINEL MASTER has the new epoch and still the old address; the other command names the address that goes with the
   * epoch. The epoch is asked for first: were it read after a failover that the address does not show yet, the old primary would be
   * taken for the new one.
   */
  async #askOne(link: Link): Promise<Belief | null> {
    const { redis } = link;
    const { primary } = this.#location;
    if (redis === null) return null;
    try {
      const [state, address]: unknown[] = await Promise.all([
        redis.call('SENTINEL', 'MASTER', primary),
        redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', primary),
      ]);
      if (!Array.isArray(state) || !Array.isArray(address)) return null;
      const host: unknown = address[0];
      const port = Number(address[1]);
      const epoch = Number(state[state.indexOf('config-epoch') + 1]);
      if (typeof host !== 'string' || !(port > 0) || !Number.isSafeInteger(epoch)) return null;
      return { endpoint: { host, port }, epoch };
    } catch (error) {
      if (error instanceof Error) this.#reason = error;
      // A host that has vanished closes no connection.
      if (isTimeout(error) && link.redis === redis) link.drop();
      return null;
    }
  }
}

/** What to do where a Sentinel does not let us in. */
function passwordHint({ message }: Error): string {
  if (/^NOPERM\b/.test(message)) return '; docs/redis.md says what the user of the Sentinels has to be allowed';
  if (/^WRONGPASS\b/.test(message)) {
    return '; LESSOR_SENTINEL_PASSWORD or LESSOR_SENTINEL_USER is not what the Sentinels know';
  }
  return /^NOAUTH\b/.test(message) ? '; the Sentinels want a password of their own: set LESSOR_SENTINEL_PASSWORD' : '';
}

/** Stays with a server only when it says itself that it is a primary. */
export async function acceptPrimary(redis: Redis): Promise<void> {
  const role: unknown = await redis.call('ROLE');
  if (Array.isArray(role) && role[0] === 'master') return;
  throw new Error('the server that the Sentinels call the primary is a replica');
}
