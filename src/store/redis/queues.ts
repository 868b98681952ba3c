import { mergeQueueSettings, type QueueSettings } from '../../domain/queue.ts';
import type { TaskState } from '../../domain/task.ts';
import { type ConfigureOutcome, type QueuePage, type QueueRecord, StoreError } from '../store.ts';
import { settingFields } from './outcomes.ts';
import * as replies from './replies.ts';
import { MAX_ITEMS, operation, type Shards } from './shards.ts';

const CONFIGURE_TRIES = 10;

/** Queues as a whole: what they are, what is set for them, and how they are emptied. */
export class RedisQueues {
  readonly #shards: Shards;

  constructor(shards: Shards) {
    this.#shards = shards;
  }

  async page({ after, limit }: { after: string | null; limit: number }): Promise<QueuePage> {
    const shards = Array.from({ length: this.#shards.keys.shards }, (_, shard) => shard);
    const pages = await Promise.all(
      shards.map((shard) => this.#shards.ask('queue-names', shard, [after ?? '', limit + 1])),
    );
    const names = pages.flatMap(({ result }) => replies.list(result).map(replies.text)).sort(byBytes);
    const shown = names.slice(0, limit);
    const { results } = await this.#shards.byQueue(this.#records, shown, (name) => name);
    return {
      now: Math.max(...pages.map(({ now }) => now)),
      queues: results.filter((queue) => queue !== null),
      next: names.length > limit ? (shown.at(-1) ?? null) : null,
    };
  }

  readonly #records = operation<string, QueueRecord | null>((part, names) =>
    this.#shards.askEach('queues', part, names, (reply, index) => replies.queueRecord(names[index] ?? '', reply)),
  );

  async get(name: string): Promise<{ now: number; queue: QueueRecord | null }> {
    const { now, results } = await this.#shards.byQueue(this.#records, [name], () => name);
    return { now, queue: results[0] ?? null };
  }

  async configure(name: string, settings: QueueSettings, mode: 'replace' | 'merge'): Promise<ConfigureOutcome> {
    const shard = this.#shards.keys.shardOfQueue(name);
    let known = mode === 'replace' ? '*' : '';
    for (let attempt = 0; attempt < CONFIGURE_TRIES; attempt++) {
      const next =
        known === '*' || known === '' ? settings : mergeQueueSettings(replies.storedSettings(known), settings);
      const args = [name, known, JSON.stringify(next), ...settingFields(next)];
      const [outcome, current] = replies.list((await this.#shards.ask('configure', shard, args, null)).result);
      if (outcome === 'conflict') {
        known = replies.text(current);
        continue;
      }
      const { now, queue } = await this.get(name);
      if (queue === null) throw new StoreError('unavailable', `queue ${name} was deleted while it was configured`);
      return { now, created: outcome === 'created', queue };
    }
    throw new StoreError('unavailable', `queue ${name} is being configured by too many others at once`);
  }

  async setPaused(name: string, paused: boolean): Promise<boolean> {
    const shard = this.#shards.keys.shardOfQueue(name);
    return (await this.#shards.ask('set-paused', shard, [name, paused ? '1' : '0'])).result === 1;
  }

  async purge(name: string, state: TaskState, limit: number): Promise<{ purged: number }> {
    const shard = this.#shards.keys.shardOfQueue(name);
    let purged = 0;
    while (purged < limit) {
      const step = Math.min(MAX_ITEMS, limit - purged);
      const { result } = await this.#shards.ask('purge', shard, [name, state, step], null);
      const [done, tired] = replies.list(result).map(replies.number);
      purged += done ?? 0;
      if (done !== step && tired !== 1) break;
    }
    return { purged };
  }

  async drop(name: string): Promise<'deleted' | 'more' | 'not_empty' | 'not_found'> {
    const shard = this.#shards.keys.shardOfQueue(name);
    const { result } = await this.#shards.ask('drop-queue', shard, [name, MAX_ITEMS], null);
    if (result === 'deleted' || result === 'more' || result === 'not_empty' || result === 'not_found') return result;
    throw new replies.UnexpectedReply('an outcome', result);
  }
}

function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
