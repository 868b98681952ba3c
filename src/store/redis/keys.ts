import { crc32 } from 'node:zlib';

/**
 * Where data lives in Redis. All keys of a shard carry one hash tag, so that a shard is in one slot of a cluster
 * and one call can work on it; the operations name their keys from the shard's base key
 * (lua/includes/core.lua lists them).
 */
export class Keyspace {
  readonly shards: number;
  readonly #bases: readonly string[];

  constructor(prefix: string, shards: number) {
    this.shards = shards;
    this.#bases = Array.from({ length: shards }, (_, shard) => `${prefix}:{${shard}}`);
  }

  /** The first part of every key of each shard. */
  get bases(): readonly string[] {
    return this.#bases;
  }

  /** The first part of every key of a shard. */
  base(shard: number): string {
    const base = this.#bases[shard];
    if (base === undefined) throw new RangeError(`there is no shard ${shard}`);
    return base;
  }

  /** The shard a queue lives on, by its name alone: the same in every process and on every kind of Redis. */
  shardOfQueue(queue: string): number {
    return crc32(queue) % this.shards;
  }
}
