import { isTerminal, type TaskRecord } from '../domain/task.ts';
import type { Stamped, Store } from '../store/store.ts';
import type { Departure } from './broker.ts';
import { type Slot, WaitLine } from './wait-line.ts';

const GRAIN_MS = 20;
/** How often tasks that are waited for are read, in case word of their end was lost. */
const POLL_MS = 1000;
/** Tasks read in one call. */
const MAX_READ = 1000;

interface Wait {
  readonly id: string;
  readonly queue: string;
  readonly end: (task: TaskRecord | null) => void;
  readonly fail: (error: unknown) => void;
  slot: Slot<Wait> | null;
}

/** Requests that wait for the end of a task. */
export class TaskWaits {
  readonly #store: Store;
  readonly #hasRoom: () => boolean;
  readonly #heard: <Result>(reply: Stamped<Result>) => readonly Result[];
  readonly #byTask = new Map<string, Set<Wait>>();
  /** Tasks of whose end there was word and that are being looked up; true when word has come again since. */
  readonly #looking = new Map<string, boolean>();
  readonly #ends = new WaitLine<Wait>(GRAIN_MS, (wait) => void this.#expire(wait));
  #poll: NodeJS.Timeout | undefined;
  #draining = false;
  #waiting = 0;

  /** @param hasRoom whether one more may wait */
  constructor(store: Store, hasRoom: () => boolean, heard: <Result>(reply: Stamped<Result>) => readonly Result[]) {
    this.#store = store;
    this.#hasRoom = hasRoom;
    this.#heard = heard;
    store.wakes?.onFinished((id) => {
      if (id === null) this.#lookAtAll();
      else this.finished(id);
    });
  }

  /** How many requests wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** The task once it is terminal, or as it is when the wait runs out or the client is gone; null when it does not exist. */
  async wait(id: string, waitMs: number, signal: Departure): Promise<TaskRecord | null | 'too_many_waiters'> {
    const task = await this.#read(id);
    if (task === null || isTerminal(task.state) || signal.aborted || this.#draining) return task;
    if (!this.#hasRoom()) return 'too_many_waiters';
    const { promise, resolve, reject } = Promise.withResolvers<TaskRecord | null>();
    const wait: Wait = { id, queue: task.queue, end: resolve, fail: reject, slot: null };
    this.#enter(wait, waitMs);
    signal.addEventListener('abort', () => this.#leave(wait) && wait.end(task), { once: true });
    // Beside the wait, which may end by other means before this is done.
    void this.#watch(wait, waitMs);
    return promise;
  }

  /** Has word of the end come from other brokers too, and looks at a task that may have ended before that. */
  async #watch(wait: Wait, waitMs: number): Promise<void> {
    try {
      await this.#store.wakes?.watchTask(wait.id, wait.queue, waitMs);
      const task = await this.#read(wait.id);
      if ((task === null || isTerminal(task.state)) && this.#leave(wait)) wait.end(task);
    } catch (error) {
      if (this.#leave(wait)) wait.fail(error);
    }
  }

  /** A task has ended. Word of one end may come several times; it is looked up once. */
  finished(id: string): void {
    // Asked of every task that ends, and hardly ever does anybody wait.
    if (this.#byTask.size === 0 || !this.#byTask.has(id)) return;
    if (this.#looking.has(id)) this.#looking.set(id, true);
    else void this.#lookUp(id);
  }

  async #lookUp(id: string): Promise<void> {
    do {
      this.#looking.set(id, false);
      await this.#look([id]);
      // Word that came meanwhile may be of an end that was not there yet when the task was read.
    } while (this.#looking.get(id) === true && this.#byTask.has(id));
    this.#looking.delete(id);
  }

  /** Everybody gets the task as it is; from now on nobody waits. */
  drain(): void {
    this.#draining = true;
    for (const waits of [...this.#byTask.values()]) for (const wait of [...waits]) void this.#expire(wait);
  }

  async #read(id: string): Promise<TaskRecord | null> {
    return this.#heard(await this.#store.get([id]))[0] ?? null;
  }

  #enter(wait: Wait, waitMs: number): void {
    this.#waiting++;
    const waits = this.#byTask.get(wait.id);
    if (waits) waits.add(wait);
    else this.#byTask.set(wait.id, new Set([wait]));
    wait.slot = this.#ends.enter(wait, waitMs);
    if (this.#poll === undefined) {
      this.#poll = setInterval(() => this.#lookAtAll(), POLL_MS);
      this.#poll.unref();
    }
  }

  /** False when the wait has ended already. */
  #leave(wait: Wait): boolean {
    const waits = this.#byTask.get(wait.id);
    if (!waits?.delete(wait)) return false;
    this.#waiting--;
    if (wait.slot !== null) this.#ends.leave(wait.slot);
    if (waits.size === 0) this.#byTask.delete(wait.id);
    if (this.#byTask.size === 0) {
      clearInterval(this.#poll);
      this.#poll = undefined;
    }
    return true;
  }

  /** The wait has run out: the task as it is now. */
  async #expire(wait: Wait): Promise<void> {
    try {
      const task = await this.#read(wait.id);
      if (this.#leave(wait)) wait.end(task);
    } catch (error) {
      if (this.#leave(wait)) wait.fail(error);
    }
  }

  /** The tasks of each queue by themselves: they live together, and a part of the store that fails must not fail waits for others. */
  #lookAtAll(): void {
    const byQueue = Map.groupBy(this.#byTask, ([, waits]) => waits.values().next().value?.queue);
    for (const some of byQueue.values()) {
      const ids = some.map(([id]) => id);
      for (let first = 0; first < ids.length; first += MAX_READ) void this.#look(ids.slice(first, first + MAX_READ));
    }
  }

  async #look(ids: readonly string[]): Promise<void> {
    let tasks: readonly (TaskRecord | null)[];
    try {
      tasks = this.#heard(await this.#store.get(ids));
    } catch (error) {
      // Whoever waits must hear that the store fails.
      for (const wait of ids.flatMap((id) => [...(this.#byTask.get(id) ?? [])]))
        if (this.#leave(wait)) wait.fail(error);
      return;
    }
    for (const [index, id] of ids.entries()) {
      const task = tasks[index] ?? null;
      if (task !== null && !isTerminal(task.state)) continue;
      for (const wait of [...(this.#byTask.get(id) ?? [])]) if (this.#leave(wait)) wait.end(task);
    }
  }
}
