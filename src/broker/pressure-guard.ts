import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';
import type { Logger } from 'pino';
import type { Store } from '../store/store.ts';
import type { Pressure } from './broker.ts';

/** What the process says of itself. */
export interface ProcessGauge {
  /** The part of the heap that is in use, of what it may grow to; 1 is the end of the process. */
  heap(): number;
  /** A monotonic clock, in ms: a look that comes late tells how long the event loop keeps all else waiting. */
  now(): number;
}

/** How often is looked. The store is asked that often at most, and one question at a time. */
const LOOK_MS = 1000;

/** When a pressure begins and ends, with room in between so that it does not flap. */
interface Bounds {
  begins: number;
  ends: number;
  /** So many looks in a row have to agree that it begins, or that it has ended. */
  looks: number;
  /** What an operator is told, and can do. */
  says: (value: number) => string;
}

const PASSED: Record<Pressure, string> = {
  event_loop: 'the event loop is in time again',
  heap: 'the heap has room again',
  store: 'the memory of the store has room again',
  eviction: 'the store keeps what it holds again',
};

const percent = (part: number): string => `${Math.floor(part * 100)} %`;

const BOUNDS: Record<Pressure, Bounds> = {
  // A look finds the loop in the middle of a round, so half a second late is rounds of about one second, of which a heartbeat needs
  // several. Twice in a row, because a process that was stopped for a while is late once.
  event_loop: {
    begins: 500,
    ends: 100,
    looks: 2,
    says: (late) =>
      `the event loop runs ${Math.round(late)} ms late: too much is asked of this process; add brokers or send smaller batches`,
  },
  // At the limit V8 ends the process, and collects garbage most of the time before that. Three times in a row, because
  // much of what is in use may be garbage that the next collection frees.
  heap: {
    begins: 0.85,
    ends: 0.75,
    looks: 3,
    says: (used) =>
      `${percent(used)} of the heap is in use: raise its limit with NODE_OPTIONS=--max-old-space-size, or hold fewer long-polls`,
  },
  // What is left is for what goes on: results of acks, checkpoints, buffers of clients, the rewriting of an append-only file.
  store: {
    begins: 0.9,
    ends: 0.85,
    looks: 1,
    says: (used) =>
      `the store uses ${percent(used)} of its memory: raise its maxmemory, purge tasks, or keep finished ones for less long`,
  },
  // Yes or no. A task that is taken is a promise, which such a store does not keep; what it holds still can be worked off.
  eviction: {
    begins: 1,
    ends: 1,
    looks: 1,
    says: () => 'the store may throw tasks away when its memory is full: set maxmemory-policy to noeviction',
  },
};

/**
 * Has new tasks refused while the process or its store is about to run out of room, so that what is there already can be
 * worked off. Looks now and then, never per call.
 */
export class PressureGuard {
  readonly #store: Store;
  readonly #gauge: ProcessGauge;
  readonly #log: Logger;
  /** What has begun and not ended. */
  readonly #under = new Set<Pressure>();
  /** How many looks in a row say that it should change. */
  readonly #disagreeing: Record<Pressure, number> = { event_loop: 0, heap: 0, store: 0, eviction: 0 };
  #timer: NodeJS.Timeout | undefined;
  #asking: Promise<void> | null = null;

  constructor(store: Store, gauge: ProcessGauge, log: Logger) {
    this.#store = store;
    this.#gauge = gauge;
    this.#log = log;
  }

  /** Why new tasks are to be refused; null when they are not. */
  get pressure(): Pressure | null {
    for (const pressure of this.#under) return pressure;
    return null;
  }

  start(): void {
    if (this.#timer !== undefined) return;
    let due = this.#gauge.now() + LOOK_MS;
    const look = (): void => {
      const now = this.#gauge.now();
      this.look(now - due);
      due = now + LOOK_MS;
      this.#timer = setTimeout(look, LOOK_MS);
      this.#timer.unref();
    };
    this.#timer = setTimeout(look, LOOK_MS);
    this.#timer.unref();
  }

  /** Resolves when the store is not being asked any more. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#asking;
  }

  /** @param late how much later than it should have this look comes, in ms */
  look(late: number): void {
    this.#judge('event_loop', late);
    this.#judge('heap', this.#gauge.heap());
    this.#asking ??= this.#askStore().finally(() => {
      this.#asking = null;
    });
  }

  async #askStore(): Promise<void> {
    try {
      const { used, evicts } = await this.#store.memory();
      this.#judge('store', used ?? 0);
      this.#judge('eviction', evicts ? 1 : 0);
    } catch {
      // A store that does not answer is told of by the calls that it does not answer; how full it is, is as it was.
    }
  }

  #judge(pressure: Pressure, value: number): void {
    const { begins, ends, looks, says } = BOUNDS[pressure];
    const under = this.#under.has(pressure);
    const disagrees = under ? value < ends : value >= begins;
    this.#disagreeing[pressure] = disagrees ? this.#disagreeing[pressure] + 1 : 0;
    if (this.#disagreeing[pressure] < looks) return;
    this.#disagreeing[pressure] = 0;
    if (under) {
      this.#under.delete(pressure);
      this.#log.info(
        { pressure, value },
        `${PASSED[pressure]}${this.#under.size === 0 ? ': new tasks are taken again' : ''}`,
      );
    } else {
      this.#under.add(pressure);
      this.#log.warn(
        { pressure, value },
        `new tasks are refused with 503 until it has passed, all else goes on: ${says(value)}`,
      );
    }
  }
}

/**
 * What V8's limit of the heap holds beyond `--max-old-space-size`: three times the 32 MiB that new objects have at most (seen with
 * limits from 96 MiB to 1 GiB on V8 14). New objects never fill it up; old ones end the process when they reach the rest.
 */
const YOUNG_BYTES = 96 * 1024 * 1024;
const YOUNG_SPACES = new Set(['new_space', 'new_large_object_space']);

/** Of the process that this runs in. */
export const PROCESS_GAUGE: ProcessGauge = {
  heap() {
    let old = 0;
    for (const { space_name: name, space_used_size: used } of getHeapSpaceStatistics()) {
      if (!YOUNG_SPACES.has(name)) old += used;
    }
    const { heap_size_limit: limit } = getHeapStatistics();
    return old / Math.max(limit - YOUNG_BYTES, limit / 2);
  },
  now: () => performance.now(),
};
