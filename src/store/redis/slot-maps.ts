import type { Redis } from 'ioredis';
import type { RedisConnection } from './connection.ts';
import { askOnce } from './link.ts';
import { type Endpoint, nameOf, type RedisLocation } from './location.ts';
import { readSlots, type SlotRange } from './slots.ts';

/** Nodes that have not answered by then are left out. */
const ANSWER_MS = 1000;
/** How long others are waited for when one has answered: it may be the one that has not heard of a failover. */
const OTHERS_MS = 150;
/** Nodes that are asked at a time. */
const MAX_NODES = 32;

/** Who serves which slot, by what one node says. */
export class SlotMap {
  readonly #ranges: readonly SlotRange[];
  /** Grows with every failover and every slot that moves. */
  readonly epoch: number;
  /** Whether the node itself takes part in a cluster that works. */
  readonly sound: boolean;

  constructor(ranges: readonly SlotRange[], epoch: number, sound: boolean) {
    this.#ranges = ranges;
    this.epoch = epoch;
    this.sound = sound;
  }

  ownerOf(slot: number): Endpoint | null {
    return this.#ranges.find(({ first, last }) => first <= slot && slot <= last)?.nodes[0] ?? null;
  }

  nodes(): Endpoint[] {
    return this.#ranges.flatMap(({ nodes }) => nodes);
  }
}

/** A node has said that a slot is at another one. */
export interface Redirection {
  slot: number;
  /** Where it is. */
  name: string;
}

/** Reads the map of the slots from the nodes of a cluster, whichever of them answer. */
export class SlotMaps {
  readonly #location: RedisLocation;
  /** Those of the URL and those of the latest map. */
  readonly #known = new Map<string, Endpoint>();

  constructor(location: RedisLocation) {
    this.#location = location;
    this.#know([]);
  }

  /**
   * The latest map that a node has. Those that there is a connection to are asked first. Nodes may have the epoch of a change before they
   * have the change itself: among maps of one epoch the one counts that knows of `moved`, the last redirection.
   * @throws why none has one
   */
  async read(
    connectionTo: (endpoint: Endpoint) => RedisConnection | null,
    moved: Redirection | null,
  ): Promise<SlotMap> {
    const near: (() => Promise<SlotMap>)[] = [];
    const far: (() => Promise<SlotMap>)[] = [];
    for (const endpoint of [...this.#known.values()].slice(0, MAX_NODES)) {
      const connection = connectionTo(endpoint);
      if (connection?.ready) near.push(() => readMap((...words) => connection.ask('CLUSTER', ...words), endpoint));
      else far.push(() => this.#askStranger(endpoint));
    }
    const found = await latest(near, moved).catch(() => null);
    const map = found?.sound
      ? found
      : await latest(far, moved).catch((error: unknown) => {
          if (found !== null) return found;
          throw error;
        });
    this.#know(map.nodes());
    return map;
  }

  #askStranger(endpoint: Endpoint): Promise<SlotMap> {
    return askOnce(this.#location.client, endpoint, ANSWER_MS, (redis: Redis) =>
      readMap((...words) => redis.call('CLUSTER', ...words), endpoint),
    );
  }

  #know(nodes: readonly Endpoint[]): void {
    this.#known.clear();
    for (const node of [...nodes, ...this.#location.endpoints]) this.#known.set(nameOf(node), node);
  }
}

async function readMap(cluster: (...words: string[]) => Promise<unknown>, asked: Endpoint): Promise<SlotMap> {
  const [slots, info] = await Promise.all([cluster('SLOTS'), cluster('INFO')]);
  const text = String(info);
  return new SlotMap(
    readSlots(slots, asked),
    Number(/^cluster_current_epoch:(\d+)/m.exec(text)?.[1] ?? 0),
    /^cluster_state:ok/m.test(text),
  );
}

/** The best of the answers that come in time: of a node that is part of a working cluster, and of the latest epoch. */
function latest(asks: readonly (() => Promise<SlotMap>)[], moved: Redirection | null): Promise<SlotMap> {
  return new Promise((resolve, reject) => {
    let best: SlotMap | null = null;
    let reason = new Error('no node of the cluster answers');
    let left = asks.length;
    const end = (): void => {
      clearTimeout(timer);
      if (best === null) reject(reason);
      else resolve(best);
    };
    let timer = setTimeout(end, ANSWER_MS);
    if (left === 0) end();
    const hear = async (ask: () => Promise<SlotMap>): Promise<void> => {
      try {
        const map = await ask();
        best = best === null ? map : better(best, map, moved);
        if (best.sound) {
          clearTimeout(timer);
          timer = setTimeout(end, OTHERS_MS);
        }
      } catch (error) {
        if (error instanceof Error) reason = error;
      }
      left--;
      if (left === 0) end();
    };
    for (const ask of asks) void hear(ask);
  });
}

function better(a: SlotMap, b: SlotMap, moved: Redirection | null): SlotMap {
  if (a.sound !== b.sound) return a.sound ? a : b;
  if (a.epoch !== b.epoch) return b.epoch > a.epoch ? b : a;
  return moved !== null && knows(b, moved) && !knows(a, moved) ? b : a;
}

function knows(map: SlotMap, { slot, name }: Redirection): boolean {
  const owner = map.ownerOf(slot);
  return owner !== null && nameOf(owner) === name;
}
